//! Request metrics of a part of a bucket.

use super::fields::Fields;
use super::filter::{self, Conditions};
use crate::error::Result;
use crate::xml::Writer;

pub(super) fn copy(fields: &mut Fields<'_>, xml: &mut Writer) -> Result<()> {
    filter::copy(fields, Conditions::AnyOfMetrics, xml)
}
