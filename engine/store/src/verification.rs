//! Reading and checking everything on request: one run at a time, whose outcome stays until the next one.

use rt::ShardId;
use types::Timestamp;

use crate::heal::{self, Census};
use crate::node::{Node, lock};
use crate::store::Store;

/// The last run.
#[derive(Clone, Debug, Default)]
pub enum Verification {
    /// None was asked for since the process began.
    #[default]
    Never,
    Running {
        began: Timestamp,
        so_far: Census,
    },
    Done {
        began: Timestamp,
        ended: Timestamp,
        found: Census,
    },
    /// Nothing is known.
    Failed {
        began: Timestamp,
        why: String,
    },
}

impl Store {
    /// Begins to read and check all that the index names, unless that is under way; `verification` tells how it stands.
    pub async fn begin_verification(&self) {
        let node = self.shard().node().clone();
        rt::call(ShardId(0), move || async move {
            let began = Timestamp(rt::time::wall_clock());
            {
                let mut verification = lock(&node.verification);
                if matches!(*verification, Verification::Running { .. }) {
                    return;
                }
                *verification = Verification::Running { began, so_far: Census::default() };
            }
            drop(rt::spawn_background(async move { run(&node, began).await }));
        })
        .await;
    }

    pub fn verification(&self) -> Verification {
        lock(&self.shard().node().verification).clone()
    }
}

async fn run(node: &Node, began: Timestamp) {
    let found = heal::verify(|so_far| {
        *lock(&node.verification) = Verification::Running { began, so_far: so_far.clone() };
    })
    .await;
    let ended = Timestamp(rt::time::wall_clock());
    *lock(&node.verification) = match found {
        Ok(found) => Verification::Done { began, ended, found },
        Err(error) => Verification::Failed { began, why: error.to_string() },
    };
}
