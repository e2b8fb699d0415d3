//! Pages of other origins: which rules of the bucket are asked, for a browser that asks before its request and for the
//! request itself.
//!
//! Nobody is authorised here: a browser that asks has no signature to send, and learns what the rules say and nothing
//! else. What the page then asks for is decided at the gate like anything.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use s3::configuration::Kind;
use s3::configuration::cors::{self, Asked, Rules};
use s3::head::Head;
use s3::reply::{Headers, Reply};
use s3::{Code, Error};
use store::Bucket;
use types::{BucketId, BucketName};

use crate::Ops;
use crate::configuration::content_of;

/// Buckets whose rules one shard keeps as they were read.
const BUCKETS_KEPT_MAX: usize = 64;

/// Rules that were read lately. A change of any bucket makes all of them new, so a bucket that is the same one in memory
/// has the same rules.
#[derive(Default)]
pub(crate) struct RulesRead {
    of: RefCell<HashMap<BucketId, Read>>,
}

struct Read {
    bucket: Arc<Bucket>,
    rules: Option<Rc<Rules>>,
}

impl RulesRead {
    /// The rules of a bucket, if it has any.
    fn get(&self, bucket: &Arc<Bucket>) -> Option<Rc<Rules>> {
        let mut of = self.of.borrow_mut();
        if let Some(known) = of.get(&bucket.id)
            && Arc::ptr_eq(&known.bucket, bucket)
        {
            return known.rules.clone();
        }
        let read = |content: String| match Rules::of_content(&content) {
            Ok(rules) => Some(Rc::new(rules)),
            Err(error) => {
                // Without rules no page is let in.
                telemetry::error!("the CORS rules of a bucket cannot be read"; bucket = bucket.name, error = error);
                None
            }
        };
        let rules = content_of(bucket, Kind::Cors).and_then(read);
        if of.len() == BUCKETS_KEPT_MAX {
            of.clear();
        }
        of.insert(bucket.id, Read { bucket: bucket.clone(), rules: rules.clone() });
        rules
    }
}

/// Answers a browser that asks whether a page may send a request. `resource_type`: as errors name it.
pub fn preflight(
    ops: &Ops,
    head: &Head<'_>,
    bucket: Option<&str>,
    resource_type: &'static str,
) -> Result<Reply, Error> {
    let name = bucket.and_then(|name| BucketName::parse(name).ok());
    let bucket = name.and_then(|name| ops.store.bucket(&name));
    if bucket.is_none() && head.has(cors::ORIGIN) {
        return Err(Error::with(Code::CrossOriginForbidden, "CORSResponse: Bucket not found"));
    }
    let rules = bucket.and_then(|bucket| ops.rules_read.get(&bucket));
    let headers = cors::preflight(head, resource_type, rules.as_deref())?;
    Ok(Reply { headers, ..Reply::empty(200) })
}

/// Adds to the headers of a reply what the rules of the bucket say to the page that sent the request, if they say yes.
pub fn allow_origin(ops: &Ops, head: &Head<'_>, bucket: &str, headers: &mut Headers) {
    let bucket = BucketName::parse(bucket).ok().and_then(|name| ops.store.bucket(&name));
    let Some((rules, asked)) = bucket.and_then(|bucket| ops.rules_read.get(&bucket)).zip(Asked::of(head)) else {
        return;
    };
    if let Some(allowed) = rules.allow(&asked) {
        allowed.push_to(headers);
    }
}
