//! The configurations of a bucket, behind its other settings: to the end, per entry
//! `kind: u8, id len: u16, id, document len: u32, document`, in order of kind and id, no two of which are the same.
//!
//! The document is the content that `s3::configuration` makes. An empty one says that the configuration was deleted,
//! where that is something else than that it was never set. Kinds of later releases are kept as they are.

use s3::configuration::Kind;

use super::BucketSettings;

/// Most bytes of a bucket's settings with all configurations. They lie in memory, and a change writes all of them.
pub(crate) const SETTINGS_BYTES_MAX: usize = 1 << 20;

/// What an entry is, as a number on the drives: never to be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntryKind(u8);

/// The policy of the bucket, as it was sent.
pub(crate) const POLICY: EntryKind = EntryKind(13);

impl From<Kind> for EntryKind {
    fn from(kind: Kind) -> EntryKind {
        EntryKind(kind_code(kind))
    }
}

fn kind_code(kind: Kind) -> u8 {
    match kind {
        Kind::Tagging => 1,
        Kind::PublicAccessBlock => 2,
        Kind::OwnershipControls => 3,
        Kind::RequestPayment => 4,
        Kind::Accelerate => 5,
        Kind::Abac => 6,
        Kind::Notification => 7,
        Kind::Cors => 8,
        Kind::Analytics => 9,
        Kind::IntelligentTiering => 10,
        Kind::Inventory => 11,
        Kind::Metrics => 12,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry<'a> {
    kind: u8,
    id: &'a str,
    document: &'a str,
}

/// All configurations of a bucket, in order.
pub(crate) struct Entries<'a> {
    settings: BucketSettings,
    entries: Vec<Entry<'a>>,
}

impl<'a> Entries<'a> {
    /// Reads the settings of a bucket. `None` for what a later release wrote.
    pub(crate) fn of(settings: &'a [u8]) -> Option<Entries<'a>> {
        let (settings, mut rest) = BucketSettings::split(settings)?;
        let mut entries: Vec<Entry<'a>> = Vec::new();
        while !rest.is_empty() {
            let (entry, behind) = split_entry(rest)?;
            if entries.last().is_some_and(|last| (last.kind, last.id) >= (entry.kind, entry.id)) {
                return None;
            }
            entries.push(entry);
            rest = behind;
        }
        Some(Entries { settings, entries })
    }

    /// The content of one configuration; empty when it was deleted.
    pub(crate) fn get(&self, kind: impl Into<EntryKind>, id: &str) -> Option<&'a str> {
        let at = self.position(kind, id).ok()?;
        Some(self.entries[at].document)
    }

    /// Ids and contents of all of one kind behind the id `after`, in order.
    pub(crate) fn behind(&self, kind: Kind, after: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let kind = kind_code(kind);
        let from = self.entries.partition_point(|entry| (entry.kind, entry.id) <= (kind, after));
        self.entries[from..].iter().take_while(move |entry| entry.kind == kind).map(|entry| (entry.id, entry.document))
    }

    /// How many of one kind there are.
    pub(crate) fn count(&self, kind: Kind) -> usize {
        let kind = kind_code(kind);
        self.entries.iter().filter(|entry| entry.kind == kind).count()
    }

    pub(crate) fn put(&mut self, kind: impl Into<EntryKind>, id: &'a str, document: &'a str) {
        let kind = kind.into();
        let entry = Entry { kind: kind.0, id, document };
        match self.position(kind, id) {
            Ok(at) => self.entries[at] = entry,
            Err(at) => self.entries.insert(at, entry),
        }
    }

    /// Whether there was such a configuration.
    pub(crate) fn remove(&mut self, kind: impl Into<EntryKind>, id: &str) -> bool {
        let at = self.position(kind, id);
        if let Ok(at) = at {
            self.entries.remove(at);
        }
        at.is_ok()
    }

    /// The settings with these configurations; `None` when they would be longer than `SETTINGS_BYTES_MAX`.
    pub(crate) fn encode(&self) -> Option<Vec<u8>> {
        let mut bytes = self.settings.encode();
        for Entry { kind, id, document } in &self.entries {
            let id_len = u16::try_from(id.len()).expect("ids were checked when they were parsed");
            bytes.push(*kind);
            bytes.extend(id_len.to_le_bytes());
            bytes.extend(id.as_bytes());
            bytes.extend(u32::try_from(document.len()).ok()?.to_le_bytes());
            bytes.extend(document.as_bytes());
        }
        (bytes.len() <= SETTINGS_BYTES_MAX).then_some(bytes)
    }

    fn position(&self, kind: impl Into<EntryKind>, id: &str) -> Result<usize, usize> {
        let wanted = (kind.into().0, id);
        self.entries.binary_search_by(|entry| (entry.kind, entry.id).cmp(&wanted))
    }
}

fn split_entry(bytes: &[u8]) -> Option<(Entry<'_>, &[u8])> {
    let (&kind, rest) = bytes.split_first()?;
    let (id_len, rest) = rest.split_first_chunk()?;
    let (id, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*id_len)))?;
    let (document_len, rest) = rest.split_first_chunk()?;
    let (document, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*document_len)).ok()?)?;
    let entry = Entry { kind, id: std::str::from_utf8(id).ok()?, document: std::str::from_utf8(document).ok()? };
    Some((entry, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two kinds, one of which a later release added.
    const GOLDEN: &[u8] = b"\x02\x03own\x04eu-1\x01\x00\x00\x02\x00\x00\x00<>\x0c\x01\x00a\x01\x00\x00\x00A\
                            \x0c\x01\x00b\x01\x00\x00\x00B\xc8\x01\x00z\x00\x00\x00\x00";

    #[test]
    fn configurations_have_golden_bytes_and_are_kept_in_order() {
        let mut entries = Entries::of(b"\x01\x03own\x04eu-1").expect("the first version");
        entries.put(Kind::Metrics, "b", "B");
        entries.put(Kind::Metrics, "a", "old");
        entries.put(Kind::Tagging, "", "<>");
        entries.put(Kind::Metrics, "a", "A");
        let later = [&entries.encode().expect("short")[..], b"\xc8\x01\x00z\x00\x00\x00\x00"].concat();
        assert_eq!(later, GOLDEN);
        assert_eq!(BucketSettings::decode(GOLDEN), BucketSettings::decode(b"\x01\x03own\x04eu-1"));
        let mut entries = Entries::of(GOLDEN).expect("whole");
        assert_eq!(entries.encode().as_deref(), Some(GOLDEN));
        assert_eq!((entries.get(Kind::Tagging, ""), entries.get(Kind::Cors, "")), (Some("<>"), None));
        assert_eq!((entries.get(Kind::Metrics, "b"), entries.get(Kind::Metrics, "c")), (Some("B"), None));
        assert_eq!((entries.count(Kind::Metrics), entries.count(Kind::Analytics)), (2, 0));
        assert_eq!(entries.behind(Kind::Metrics, "").collect::<Vec<_>>(), [("a", "A"), ("b", "B")]);
        assert_eq!(entries.behind(Kind::Metrics, "a").collect::<Vec<_>>(), [("b", "B")]);
        assert_eq!(entries.behind(Kind::Inventory, "").count(), 0);
        assert!(entries.remove(Kind::Metrics, "a") && !entries.remove(Kind::Metrics, "a"));
        assert_eq!(entries.get(Kind::Metrics, "a"), None);
        assert_eq!(entries.get(Kind::Metrics, "b"), Some("B"));
    }

    #[test]
    fn what_is_cut_disordered_or_not_text_is_no_settings() {
        for len in 1..GOLDEN.len() {
            // At the end of an entry nothing seems to be missing.
            let is_whole = [9, 18, 27, 36].map(|end| end + 1).contains(&len);
            assert_eq!(Entries::of(&GOLDEN[..len]).is_some(), is_whole, "{len}");
        }
        for bytes in [
            &b"\x03\x00\x00"[..],
            b"\x02\x00\x00\x0c\x01\x00b\x00\x00\x00\x00\x0c\x01\x00a\x00\x00\x00\x00",
            b"\x02\x00\x00\x0c\x01\x00a\x00\x00\x00\x00\x0c\x01\x00a\x00\x00\x00\x00",
            b"\x02\x00\x00\x0c\x01\x00\xff\x00\x00\x00\x00",
            b"\x02\x00\x00\x0c\x00\x00\x01\x00\x00\x00\xff",
            b"\x01\x00\x00\x0c\x00\x00\x00\x00\x00\x00",
        ] {
            assert!(Entries::of(bytes).is_none(), "{bytes:?}");
        }
    }

    #[test]
    fn settings_are_bounded() {
        let mut entries = Entries::of(b"\x02\x00\x00").expect("empty");
        let longest = "x".repeat(SETTINGS_BYTES_MAX - 3 - 7);
        entries.put(Kind::Cors, "", &longest);
        assert_eq!(entries.encode().map(|bytes| bytes.len()), Some(SETTINGS_BYTES_MAX));
        entries.put(Kind::Abac, "", "");
        assert_eq!(entries.encode(), None);
    }

    #[test]
    fn each_kind_has_a_number_of_its_own() {
        let mut codes = Kind::ALL.map(kind_code);
        codes.sort_unstable();
        assert!(codes.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
