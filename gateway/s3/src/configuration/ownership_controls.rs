//! Who owns the objects of a bucket.

use super::fields::Fields;
use crate::error::{Code, Error, Result};
use crate::xml::Writer;

const ENFORCED: &str = "BucketOwnerEnforced";
/// What makes access lists count.
const OTHERS: [&str; 2] = ["BucketOwnerPreferred", "ObjectWriter"];

/// Copies the one rule. There are no access lists yet: what makes them count would be a promise nobody keeps.
pub(super) fn copy(fields: &mut Fields<'_>, xml: &mut Writer) -> Result<()> {
    let mut rule = fields.required_inner("Rule")?;
    let ownership = rule.required_word("ObjectOwnership", &[ENFORCED, OTHERS[0], OTHERS[1]])?;
    rule.end()?;
    if OTHERS.contains(&ownership) {
        let message = format!("ObjectOwnership {ownership} is not implemented: there are no access control lists");
        return Err(Error::with(Code::NotImplemented, message));
    }
    xml.open("Rule");
    xml.text("ObjectOwnership", ownership);
    xml.close("Rule");
    Ok(())
}
