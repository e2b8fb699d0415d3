//! Decoders of what operations keep in settings, over any bytes: none may panic, and what one takes is what its encoder
//! writes.

use crate::settings::{BucketSettings, Entries, decode_upload, encode_upload};

/// Settings of buckets, of the first version and with configurations, and of uploads.
pub fn settings(bytes: &[u8]) {
    if let Some(entries) = Entries::of(bytes) {
        let settings = BucketSettings::decode(bytes).expect("what has entries has the rest");
        let is_first_version = bytes == [&[1], &settings.encode()[1..]].concat();
        assert!(is_first_version || entries.encode().is_none_or(|encoded| encoded == bytes));
    }
    if let Some(upload) = decode_upload(bytes) {
        assert_eq!(decode_upload(&encode_upload(upload)), Some(upload));
    }
}
