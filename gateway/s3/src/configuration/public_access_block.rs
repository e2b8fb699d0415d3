//! Which public access a bucket keeps out, whatever its policy and access lists say.

use super::fields::Fields;
use crate::error::{Error, Result};
use crate::xml::Writer;

const SWITCHES: [&str; 4] = ["BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"];

/// Copies the four switches; what a document leaves out is off.
pub(super) fn copy(fields: &mut Fields<'_>, xml: &mut Writer) -> Result<()> {
    let mut any = false;
    for switch in SWITCHES {
        let flag = fields.flag(switch)?;
        any |= flag.is_some();
        xml.flag(switch, flag.unwrap_or(false));
    }
    if any { Ok(()) } else { Err(Error::invalid_request("Must specify at least one configuration.")) }
}
