//! Documents that are one word: who pays for requests, whether transfers are accelerated, whether tags decide.

use super::fields::Fields;
use crate::error::Result;
use crate::xml::Writer;

pub(super) fn copy(fields: &mut Fields<'_>, name: &str, words: &[&'static str], xml: &mut Writer) -> Result<()> {
    xml.text(name, fields.required_word(name, words)?);
    Ok(())
}
