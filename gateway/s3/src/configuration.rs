//! The configurations of a bucket that are kept as documents: which there are, what S3 answers for one that was never
//! set, and the way from a client's document to what is kept.
//!
//! What is kept is the *content*: what stands between the tags of the root, as S3 writes it. It is made here from what
//! the document says and never copied from it, so a read sends it as it is. A document that says anything S3 does not
//! know is refused: what is left out in silence would be believed.

mod analytics;
mod choice;
pub mod cors;
mod fields;
mod filter;
mod intelligent_tiering;
mod inventory;
mod metrics;
mod notification;
mod ownership_controls;
mod public_access_block;
mod tagging;

pub use public_access_block::{blocks_public_policy, restricts_public_buckets};

use crate::error::{Code, Error, Result};
use crate::xml::{self, Element, Writer};
use fields::Fields;

/// Most configurations of one kind and bucket, where there may be several.
pub const CONFIGURATIONS_MAX: usize = 1_000;
/// Longest id of a configuration.
const ID_LEN_MAX: usize = 64;

/// What a bucket can be configured for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Tagging,
    PublicAccessBlock,
    OwnershipControls,
    RequestPayment,
    Accelerate,
    Abac,
    Notification,
    Cors,
    Analytics,
    IntelligentTiering,
    Inventory,
    Metrics,
}

/// What S3 answers to the read of a configuration that was never set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwritten {
    /// An error that says so.
    Missing(Code),
    /// This content.
    Content(&'static str),
}

impl Kind {
    pub const ALL: [Kind; 12] = [
        Kind::Tagging,
        Kind::PublicAccessBlock,
        Kind::OwnershipControls,
        Kind::RequestPayment,
        Kind::Accelerate,
        Kind::Abac,
        Kind::Notification,
        Kind::Cors,
        Kind::Analytics,
        Kind::IntelligentTiering,
        Kind::Inventory,
        Kind::Metrics,
    ];

    /// The root of its documents.
    pub fn root(self) -> &'static str {
        match self {
            Kind::Tagging => "Tagging",
            Kind::PublicAccessBlock => "PublicAccessBlockConfiguration",
            Kind::OwnershipControls => "OwnershipControls",
            Kind::RequestPayment => "RequestPaymentConfiguration",
            Kind::Accelerate => "AccelerateConfiguration",
            Kind::Abac => "AbacStatus",
            Kind::Notification => "NotificationConfiguration",
            Kind::Cors => "CORSConfiguration",
            Kind::Analytics => "AnalyticsConfiguration",
            Kind::IntelligentTiering => "IntelligentTieringConfiguration",
            Kind::Inventory => "InventoryConfiguration",
            Kind::Metrics => "MetricsConfiguration",
        }
    }

    /// The root of a list, for kinds of which a bucket may have several, each with an id.
    pub fn list_root(self) -> Option<&'static str> {
        match self {
            Kind::Analytics => Some("ListBucketAnalyticsConfigurationResult"),
            Kind::IntelligentTiering => Some("ListBucketIntelligentTieringConfigurationsResult"),
            Kind::Inventory => Some("ListInventoryConfigurationsResult"),
            Kind::Metrics => Some("ListMetricsConfigurationsResult"),
            Kind::Tagging
            | Kind::PublicAccessBlock
            | Kind::OwnershipControls
            | Kind::RequestPayment
            | Kind::Accelerate
            | Kind::Abac
            | Kind::Notification
            | Kind::Cors => None,
        }
    }

    /// Whether a bucket may have several, each with an id.
    pub fn has_ids(self) -> bool {
        self.list_root().is_some()
    }

    pub fn unwritten(self) -> Unwritten {
        match self {
            Kind::Tagging => Unwritten::Missing(Code::NoSuchTagSet),
            Kind::PublicAccessBlock => Unwritten::Missing(Code::NoSuchPublicAccessBlock),
            // What is in force: access lists other than the owner's are refused.
            Kind::OwnershipControls => {
                Unwritten::Content("<Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule>")
            }
            Kind::RequestPayment => Unwritten::Content("<Payer>BucketOwner</Payer>"),
            Kind::Accelerate | Kind::Notification => Unwritten::Content(""),
            Kind::Abac => Unwritten::Content("<Status>Disabled</Status>"),
            Kind::Cors => Unwritten::Missing(Code::NoSuchCors),
            Kind::Analytics | Kind::IntelligentTiering | Kind::Inventory | Kind::Metrics => {
                Unwritten::Missing(Code::NoSuchConfiguration)
            }
        }
    }

    /// What S3 answers to the read of a configuration that was deleted, where that is another answer than `unwritten`.
    pub fn deleted(self) -> Option<Code> {
        match self {
            Kind::OwnershipControls => Some(Code::NoSuchOwnershipControls),
            Kind::Tagging
            | Kind::PublicAccessBlock
            | Kind::RequestPayment
            | Kind::Accelerate
            | Kind::Abac
            | Kind::Notification
            | Kind::Cors
            | Kind::Analytics
            | Kind::IntelligentTiering
            | Kind::Inventory
            | Kind::Metrics => None,
        }
    }
}

/// What a client's document comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// Empty for kinds without ids.
    pub id: String,
    /// Empty when the document sets nothing: then there is no such configuration any more.
    pub content: String,
}

/// Reads and checks a client's document.
pub fn read(kind: Kind, document: &[u8]) -> Result<Configuration> {
    if document.is_empty() {
        return Err(Error::new(Code::MissingRequestBody));
    }
    if kind == Kind::Cors && document.len() > cors::DOCUMENT_BYTES_MAX {
        return Err(Error::new(Code::MaxMessageLengthExceeded)
            .field("MaxMessageLengthBytes", cors::DOCUMENT_BYTES_MAX.to_string()));
    }
    let root = xml::read(document, kind.root())?;
    let mut content = Writer::piece();
    let id = write(kind, &root, &mut content)?;
    Ok(Configuration { id, content: content.finish() })
}

/// Writes the content of `root`, and returns its id.
fn write(kind: Kind, root: &Element, xml: &mut Writer) -> Result<String> {
    let mut fields = Fields::of(root)?;
    let mut id = String::new();
    if kind.has_ids() {
        id = check_id(fields.required_text("Id")?)?.to_owned();
        xml.text("Id", &id);
    }
    match kind {
        Kind::Tagging => tagging::copy(&mut fields, xml)?,
        Kind::PublicAccessBlock => public_access_block::copy(&mut fields, xml)?,
        Kind::OwnershipControls => ownership_controls::copy(&mut fields, xml)?,
        Kind::RequestPayment => choice::copy(&mut fields, "Payer", &["BucketOwner", "Requester"], xml)?,
        Kind::Accelerate => choice::copy(&mut fields, "Status", &["Enabled", "Suspended"], xml)?,
        Kind::Abac => choice::copy(&mut fields, "Status", &["Enabled", "Disabled"], xml)?,
        Kind::Notification => notification::copy(&mut fields, xml)?,
        Kind::Cors => cors::copy(&mut fields, xml)?,
        Kind::Analytics => analytics::copy(&mut fields, xml)?,
        Kind::IntelligentTiering => intelligent_tiering::copy(&mut fields, xml)?,
        Kind::Inventory => inventory::copy(&mut fields, xml)?,
        Kind::Metrics => metrics::copy(&mut fields, xml)?,
    }
    fields.end()?;
    Ok(id)
}

/// The content of a bucket's tagging, from the tags of the document that makes the bucket.
pub(crate) fn read_tags(tags: &Element) -> Result<String> {
    let mut content = Writer::piece();
    tagging::copy_set(&mut Fields::of(tags)?, &mut content)?;
    Ok(content.finish())
}

/// The id of a configuration as queries and documents name it.
pub(crate) fn check_id(id: &str) -> Result<&str> {
    let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if (1..=ID_LEN_MAX).contains(&id.len()) && id.bytes().all(is_valid) {
        Ok(id)
    } else {
        Err(Error::new(Code::InvalidConfigurationId))
    }
}

#[cfg(test)]
mod tests;
