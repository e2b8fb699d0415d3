//! Which public access a bucket keeps out, whatever its policy and access lists say.

use super::fields::Fields;
use crate::error::{Error, Result};
use crate::xml::Writer;

/// Whether this content keeps public policies from being put.
pub fn blocks_public_policy(content: &str) -> bool {
    is_on(content, "BlockPublicPolicy")
}

/// Whether this content keeps everyone out but the owner's account, as long as the policy is public.
pub fn restricts_public_buckets(content: &str) -> bool {
    is_on(content, "RestrictPublicBuckets")
}

/// Contents are as `copy` writes them.
fn is_on(content: &str, switch: &str) -> bool {
    content.contains(&format!("<{switch}>true</{switch}>"))
}

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
