//! The configurations that a bucket keeps as documents: read, set, deleted, listed.
//!
//! All are part of the bucket's settings, so a change of one is made in the step that replaces them: none is lost, and
//! it is in force on every shard when it is acknowledged.

use s3::configuration::{CONFIGURATIONS_MAX, Kind};
use s3::reply::{CONFIGURATIONS_PAGE_MAX, ListedConfigurations, Reply, Stored, render_configuration};
use s3::request::{BucketRef, DeleteConfiguration, GetConfiguration, ListConfigurations, PutConfiguration};
use s3::{Code, Error};
use store::Bucket;

use crate::Ops;
use crate::bucket::bucket;
use crate::gate::Authorized;
use crate::refusal::{refuse, senseless};
use crate::settings::{Entries, SETTINGS_BYTES_MAX};

/// GetBucketTagging and all like it.
pub fn get_configuration(ops: &Ops, request: &Authorized<GetConfiguration>) -> Result<Reply, Error> {
    let bucket = bucket(ops, &request.bucket)?;
    let entries = entries(&bucket)?;
    let stored = match (entries.get(request.kind, &request.id), request.kind.deleted()) {
        (None, _) => Stored::Nothing,
        (Some(""), Some(code)) => Stored::Deleted(code),
        (Some(content), _) => Stored::Content(content),
    };
    render_configuration(request.kind, stored, &bucket.name)
}

/// PutBucketTagging and all like it. A document that sets nothing takes the configuration away.
pub async fn put_configuration(ops: &Ops, request: Authorized<PutConfiguration>) -> Result<(), Error> {
    let PutConfiguration { operation: _, bucket, kind, id, content } = request.into_inner();
    change(ops, &bucket, move |settings| {
        let mut entries = Entries::of(settings).ok_or_else(of_a_later_release)?;
        if content.is_empty() {
            entries.remove(kind, &id);
        } else {
            entries.put(kind, &id, &content);
        }
        if kind.has_ids() && entries.count(kind) > CONFIGURATIONS_MAX {
            return Err(Error::new(Code::TooManyConfigurations));
        }
        encode(&entries)
    })
    .await
}

/// DeleteBucketTagging and all like it. What is not there is deleted already, but for those that have ids.
pub async fn delete_configuration(ops: &Ops, request: Authorized<DeleteConfiguration>) -> Result<(), Error> {
    let DeleteConfiguration { operation: _, bucket, kind, id } = request.into_inner();
    change(ops, &bucket, move |settings| {
        let mut entries = Entries::of(settings).ok_or_else(of_a_later_release)?;
        if kind.deleted().is_some() {
            entries.put(kind, &id, "");
        } else if !entries.remove(kind, &id) && kind.has_ids() {
            return Err(Error::new(Code::NoSuchConfiguration));
        }
        encode(&entries)
    })
    .await
}

/// ListBucketInventoryConfigurations and all like it, a page at a time.
pub fn list_configurations(ops: &Ops, request: &Authorized<ListConfigurations>) -> Result<ListedConfigurations, Error> {
    let bucket = bucket(ops, &request.bucket)?;
    let entries = entries(&bucket)?;
    let after = request.continuation.as_ref().map_or("", |(_, after)| after);
    let mut rest = entries.behind(request.kind, after);
    let page: Vec<(&str, &str)> = rest.by_ref().take(CONFIGURATIONS_PAGE_MAX).collect();
    let next = rest.next().and(page.last()).map(|(id, _)| (*id).to_owned());
    let contents = page.into_iter().map(|(_, content)| content.to_owned()).collect();
    Ok(ListedConfigurations { contents, next })
}

/// The content of a configuration that a bucket has, for those who act on it.
pub(crate) fn content_of(bucket: &Bucket, kind: Kind) -> Option<String> {
    Entries::of(&bucket.settings)?.get(kind, "").filter(|content| !content.is_empty()).map(str::to_owned)
}

/// The settings of a bucket that is made with tags, whose content is `tags`.
pub(crate) fn with_tags(settings: Vec<u8>, tags: &str) -> Result<Vec<u8>, Error> {
    if tags.is_empty() {
        return Ok(settings);
    }
    let mut entries = Entries::of(&settings).ok_or_else(of_a_later_release)?;
    entries.put(Kind::Tagging, "", tags);
    encode(&entries)
}

pub(crate) async fn change<F>(ops: &Ops, wanted: &BucketRef, change: F) -> Result<(), Error>
where
    F: FnOnce(&[u8]) -> Result<Vec<u8>, Error> + Send + 'static,
{
    let bucket = bucket(ops, wanted)?;
    let changed = ops.store.put_bucket_settings(&bucket.name, change).await;
    changed.map_err(refuse).flatten().map_err(|error| error.field("BucketName", bucket.name.as_str()))
}

pub(crate) fn entries(bucket: &Bucket) -> Result<Entries<'_>, Error> {
    Entries::of(&bucket.settings).ok_or_else(of_a_later_release)
}

/// Never overwritten: what they say beyond what is known here would be lost.
pub(crate) fn of_a_later_release() -> Error {
    senseless("the settings of a bucket are of a later release")
}

pub(crate) fn encode(entries: &Entries<'_>) -> Result<Vec<u8>, Error> {
    let too_long = || {
        let message =
            format!("The configurations of the bucket would take more than {SETTINGS_BYTES_MAX} bytes together");
        Error::invalid_request(message)
    };
    entries.encode().ok_or_else(too_long)
}
