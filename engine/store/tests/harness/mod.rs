//! What the simulations of the whole store share: worlds, clients, and scenarios, which tests run with their seeds.
#![allow(dead_code)] // Each test uses its part.

pub(crate) mod balances;
pub(crate) mod clients;
pub(crate) mod clocks;
pub(crate) mod crashes;
pub(crate) mod hangs;
pub(crate) mod healing;
pub(crate) mod heals;
pub(crate) mod run;
pub(crate) mod versions;
