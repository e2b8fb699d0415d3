//! The proof without which nothing is freed.

use crate::ids::{SlotOffset, VolumeId};

/// Says that nothing live is in `T` and nobody reads it any more. Only `space` makes one: whoever punches or unlinks
/// has to show it, so that freeing goes through one place.
#[derive(Debug)]
pub(crate) struct ProvenDead<T>(T);

impl<T> ProvenDead<T> {
    /// To be called where the proof was made, with what it rests on beside it.
    pub(in crate::space) fn new(what: T) -> ProvenDead<T> {
        ProvenDead(what)
    }

    pub(crate) fn what(&self) -> &T {
        &self.0
    }
}

/// Pages of every slot of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageRange {
    pub(crate) volume: VolumeId,
    pub(crate) at: SlotOffset,
    pub(crate) pages: u32,
}

#[cfg(all(test, feature = "sim"))]
mod tests {
    use std::time::Duration;

    use rt::buf::Shared;
    use rt::file::Sync;
    use rt::sim::{DriveConfig, SimConfig, World};

    use super::*;
    use crate::error::Error;
    use crate::ids::PAGE_BYTES;
    use crate::node::{Config, Node};
    use crate::volume::Class;

    #[test]
    fn what_is_proved_dead_is_gone_from_every_drive() {
        let mut world = World::new(1, SimConfig::default());
        let dirs: Vec<std::path::PathBuf> = vec!["/d0".into(), "/d1".into()];
        dirs.iter().for_each(|dir| world.add_drive(dir, DriveConfig::default()));
        let main = async move {
            let config = Config { data_slot_bytes: Some(1 << 20), ..Config::new(dirs.clone()) };
            let node = Node::open(config).await.unwrap();
            let volume = node.create_volume(Class::Data, Vec::new(), None).await.unwrap();
            for slot in 0..2 {
                let ones = Shared::from(rt::buf::alloc(PAGE_BYTES).await);
                volume.write_slot(slot, SlotOffset(7), ones.slice(0..PAGE_BYTES), Sync::Data).await.unwrap();
            }
            let range = PageRange { volume: volume.id, at: SlotOffset(7), pages: 1 };
            volume.punch(&ProvenDead::new(range)).await.unwrap();
            for slot in 0..2 {
                volume.sync_slot(slot).await.unwrap();
                let buf = volume.read_slot(slot, SlotOffset(7), 1).await.unwrap();
                assert!(buf[..PAGE_BYTES].iter().all(|&b| b == 0));
            }
            node.remove_volume(ProvenDead::new(volume.id)).await.unwrap();
            assert_eq!(node.volume(volume.id).await.err(), Some(Error::NotFound));
            for dir in dirs {
                assert_eq!(rt::file::read_dir(dir.join("volumes")).await.unwrap(), []);
            }
            node.remove_volume(ProvenDead::new(volume.id)).await.unwrap();
        };
        world.run_alone(main, Duration::from_secs(60)).expect("the run ends by itself");
    }
}
