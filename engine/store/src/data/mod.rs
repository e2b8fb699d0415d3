//! Data volumes: where the stripes of large bodies go.

mod extent;
mod flush;
mod writer;

#[cfg(all(test, feature = "sim"))]
mod sim_tests;
#[cfg(test)]
mod tests;

pub(crate) use extent::{Extent, Extents, StripeRange, stripe_data};
pub(crate) use writer::{Coverage, MEMORY_PATIENCE, Placed, Run, Stored, Writer, buffer_budget, stripe_memory};
