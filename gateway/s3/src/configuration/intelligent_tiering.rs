//! When objects that nobody reads move to colder tiers.

use super::fields::{Fields, malformed};
use super::filter::{self, Conditions};
use crate::error::{Error, Result};
use crate::head::parse_digits;
use crate::xml::Writer;

/// The tiers, each with the least number of days after which objects may move there.
const TIERS: [(&str, u64); 2] = [("ARCHIVE_ACCESS", 90), ("DEEP_ARCHIVE_ACCESS", 180)];
const DAYS_MAX: u64 = 730;

pub(super) fn copy(fields: &mut Fields<'_>, xml: &mut Writer) -> Result<()> {
    filter::copy(fields, Conditions::PrefixAndTags, xml)?;
    xml.text("Status", fields.required_word("Status", &["Enabled", "Disabled"])?);
    let tierings = fields.all("Tiering");
    if !(1..=TIERS.len()).contains(&tierings.len()) {
        return Err(malformed());
    }
    let mut seen = None;
    for tiering in tierings {
        let mut tiering = Fields::of(tiering)?;
        let tier = tiering.required_word("AccessTier", &TIERS.map(|(name, _)| name))?;
        let days = tiering.required_text("Days")?.trim();
        tiering.end()?;
        if seen.replace(tier) == Some(tier) {
            return Err(malformed());
        }
        let days_min = TIERS.iter().find(|(name, _)| *name == tier).map_or(DAYS_MAX, |(_, days_min)| *days_min);
        let number = parse_digits(days).ok_or_else(malformed)?;
        if !(days_min..=DAYS_MAX).contains(&number) {
            let message = format!("Days for {tier} must be between {days_min} and {DAYS_MAX}");
            return Err(Error::argument("Days", days, message));
        }
        xml.open("Tiering");
        xml.number("Days", number);
        xml.text("AccessTier", tier);
        xml.close("Tiering");
    }
    Ok(())
}
