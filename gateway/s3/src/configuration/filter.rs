//! The objects that a configuration is about: a prefix, a tag, an access point, or several of these at once.

use super::fields::{Fields, malformed};
use super::tagging::copy_tag;
use crate::error::Result;
use crate::xml::Writer;

/// Which conditions a filter may name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Conditions {
    PrefixAndTags,
    /// Also an access point.
    AnyOfMetrics,
}

/// Copies the filter of a configuration, if there is one. It has one condition, or two and more within `And`.
pub(super) fn copy(fields: &mut Fields<'_>, conditions: Conditions, xml: &mut Writer) -> Result<()> {
    let Some(mut filter) = fields.inner("Filter")? else {
        return Ok(());
    };
    xml.open("Filter");
    match filter.inner("And")? {
        Some(mut and) => {
            xml.open("And");
            if copy_conditions(&mut and, conditions, xml)? < 2 {
                return Err(malformed());
            }
            xml.close("And");
            filter.end()?;
        }
        None => {
            if copy_conditions(&mut filter, conditions, xml)? != 1 {
                return Err(malformed());
            }
        }
    }
    xml.close("Filter");
    Ok(())
}

/// Copies all conditions of one element, and counts them.
fn copy_conditions(fields: &mut Fields<'_>, conditions: Conditions, xml: &mut Writer) -> Result<usize> {
    let mut count = 0;
    if let Some(prefix) = fields.text("Prefix")? {
        xml.text("Prefix", prefix);
        count += 1;
    }
    for tag in fields.all("Tag") {
        copy_tag(tag, xml)?;
        count += 1;
    }
    if conditions == Conditions::AnyOfMetrics
        && let Some(arn) = fields.text("AccessPointArn")?
    {
        if !arn.starts_with("arn:") {
            return Err(malformed());
        }
        xml.text("AccessPointArn", arn);
        count += 1;
    }
    fields.end()?;
    Ok(count)
}
