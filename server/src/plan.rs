//! The settings made to fit this machine: what each layer is started with.

use std::path::PathBuf;

use crate::machine;
use crate::settings::Settings;
use crate::settings::value::show_bytes;

/// What is left to index and batches when caches are at their largest.
const MEMORY_BYTES_MIN: u64 = 64 << 20;

/// Numbers that depend on the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) shards: u16,
    pub(crate) pin: Option<Vec<usize>>,
    pub(crate) helpers: usize,
    pub(crate) memory_bytes: u64,
    pub(crate) cache_bytes: u64,
    pub(crate) buffers_bytes: u64,
}

impl Plan {
    /// Errors: one line, when the settings and the machine do not go together.
    pub(crate) fn of(settings: &Settings, cores: usize, machine_bytes: u64) -> Result<Plan, String> {
        let pin = (!settings.pin.is_empty()).then(|| settings.pin.clone());
        let wanted = settings.shards.map_or_else(|| pin.as_ref().map_or(cores, Vec::len), usize::from);
        let most = usize::from(settings.partitions);
        if wanted > most && (settings.shards.is_some() || pin.is_some()) {
            return Err(format!("{wanted} shards cannot share {most} partitions: the rest would be idle"));
        }
        let shards = wanted.clamp(1, most) as u16;
        let memory_bytes = settings.memory.of(machine_bytes);
        if memory_bytes < MEMORY_BYTES_MIN {
            return Err(format!("memory: {} is too little, {} at least", show_bytes(memory_bytes), "64 MiB"));
        }
        let cache_bytes = settings.cache.of(memory_bytes);
        if cache_bytes > memory_bytes {
            return Err(format!("cache: {} is more than all memory has", show_bytes(cache_bytes)));
        }
        let helpers = settings.helpers.unwrap_or_else(|| usize::from(shards).div_ceil(2).clamp(2, 8));
        Ok(Plan { shards, pin, helpers, memory_bytes, cache_bytes, buffers_bytes: settings.buffers })
    }

    /// For the machine that this runs on.
    pub(crate) fn here(settings: &Settings) -> Result<Plan, String> {
        Plan::of(settings, machine::cores(), machine::memory_bytes())
    }

    /// Buffers of all shards together.
    pub(crate) fn locked_bytes(&self) -> u64 {
        self.buffers_bytes * u64::from(self.shards)
    }

    pub(crate) fn rt_config(&self) -> rt::Config {
        rt::Config {
            shards: self.shards,
            pin: self.pin.clone(),
            buffers_bytes_per_shard: self.buffers_bytes as usize,
            offload_threads: self.helpers,
        }
    }

    pub(crate) fn store_config(&self, settings: &Settings) -> store::Config {
        store::Config {
            parity: settings.parity,
            accept_missing: settings.accept_missing,
            memory_bytes: self.memory_bytes,
            body_cache_bytes: self.cache_bytes,
            inline_max: settings.inline_max as usize,
            log_slot_bytes: settings.log_slot,
            data_slot_bytes: settings.data_slot,
            partitions: settings.partitions,
            suspect_after: settings.suspect_after,
            ..store::Config::new(settings.dirs.clone())
        }
    }
}

/// Of the files that the process may open, what connections may take, in percent: the rest is for drives, volumes and
/// tables, which must not be kept out by clients.
const CONNECTION_FILES_PERCENT: u64 = 50;

/// Connections of each of `shards` shards: as many as are wanted and files may be open for.
pub(crate) fn connections_max(wanted: usize, shards: u16, open_files: Option<u64>) -> usize {
    let most = open_files.map_or(u64::MAX, |files| files / 100 * CONNECTION_FILES_PERCENT / u64::from(shards));
    wanted.min(usize::try_from(most).unwrap_or(usize::MAX)).max(1)
}

/// `connections_max` is that of each shard.
pub(crate) fn limits(settings: &Settings, connections_max: usize) -> http::Limits {
    http::Limits {
        header_timeout: settings.header_timeout,
        idle_timeout: settings.idle_timeout,
        body_window: settings.body_window,
        body_bytes_per_second_min: settings.body_rate_min,
        send_timeout: settings.send_timeout,
        connections_max,
        ..http::Limits::default()
    }
}

/// The certificates to serve, if any.
pub(crate) fn certificates(settings: &Settings) -> Option<http::CertSource> {
    match (&settings.tls_dir, &settings.tls_cert, &settings.tls_key) {
        (Some(dir), _, _) => Some(http::CertSource::Directory(dir.clone())),
        (None, Some(cert), Some(key)) => {
            Some(http::CertSource::Pairs(vec![http::KeyPair { cert: cert.clone(), key: key.clone() }]))
        }
        (None, _, _) => None,
    }
}

/// Where the start-up check looks: the directories, or what they will be made in.
pub(crate) fn places(settings: &Settings) -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> = Vec::new();
    for place in settings.dirs.iter().map(|dir| machine::existing(dir)) {
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Layers;
    use crate::settings::value::Share;

    const MACHINE_BYTES: u64 = 16 << 30;

    fn check(change: impl FnOnce(&mut Settings), expect: Result<(u16, u64, u64), &str>) {
        let mut settings = Settings::read(&Layers::default()).unwrap();
        change(&mut settings);
        match (Plan::of(&settings, 8, MACHINE_BYTES), expect) {
            (Ok(plan), Ok(expect)) => {
                assert_eq!((plan.shards, plan.memory_bytes >> 20, plan.cache_bytes >> 20), expect);
            }
            (Err(error), Err(expect)) => assert!(error.contains(expect), "{error}"),
            (found, expect) => panic!("{found:?}, expected {expect:?}"),
        }
    }

    #[test]
    fn the_plan_fits_the_machine() {
        check(|_| {}, Ok((8, 8191, 2047)));
        check(|settings| settings.pin = vec![1, 3], Ok((2, 8191, 2047)));
        check(|settings| settings.partitions = 4, Ok((4, 8191, 2047)));
        check(|settings| settings.memory = Share::Bytes(1 << 30), Ok((8, 1024, 255)));
    }

    #[test]
    fn connections_leave_files_for_the_store() {
        assert_eq!(connections_max(1024, 4, None), 1024);
        assert_eq!(connections_max(1024, 4, Some(1 << 20)), 1024);
        assert_eq!(connections_max(1024, 4, Some(1024)), 125);
        assert_eq!(connections_max(1024, 64, Some(64)), 1);
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        check(|settings| settings.memory = Share::Bytes(1 << 20), Err("too little"));
        check(|settings| settings.cache = Share::Bytes(10 << 30), Err("more than all"));
        check(|settings| (settings.partitions, settings.shards) = (2, Some(4)), Err("4 shards"));
    }
}
