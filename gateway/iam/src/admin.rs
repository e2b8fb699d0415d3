//! Actions on the server itself, as policies will write them. They have neither bucket nor key.

pub const LIST_DRIVES: &str = "hafiz:ListDrives";
pub const ADD_DRIVE: &str = "hafiz:AddDrive";
pub const TAKE_OUT_DRIVE: &str = "hafiz:TakeOutDrive";
pub const REPLACE_DRIVE: &str = "hafiz:ReplaceDrive";
pub const DRAIN_DRIVE: &str = "hafiz:DrainDrive";
pub const REBALANCE: &str = "hafiz:Rebalance";
pub const GET_HEAL_STATUS: &str = "hafiz:GetHealStatus";
pub const VERIFY: &str = "hafiz:Verify";
pub const BACKUP: &str = "hafiz:Backup";
