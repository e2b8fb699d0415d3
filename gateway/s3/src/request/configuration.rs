//! Requests on the configurations that a bucket keeps as documents: four verbs, the same for all kinds.

use super::{AwaitsDocument, BucketRef, Demand, Demands, Parsed, Source, Waiting};
use crate::body::BodyPlan;
use crate::configuration::{self, Kind};
use crate::error::{Error, Result};
use crate::routing::Operation;
use crate::token;

/// The read of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetConfiguration {
    pub operation: Operation,
    pub bucket: BucketRef,
    pub kind: Kind,
    /// Empty for kinds without ids, here and below.
    pub id: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutConfiguration {
    pub operation: Operation,
    pub bucket: BucketRef,
    pub kind: Kind,
    pub id: String,
    /// What is kept; empty when the document sets nothing.
    pub content: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteConfiguration {
    pub operation: Operation,
    pub bucket: BucketRef,
    pub kind: Kind,
    pub id: String,
}

/// The list of all of one kind, in pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListConfigurations {
    pub operation: Operation,
    pub bucket: BucketRef,
    pub kind: Kind,
    /// The token, as it was sent, and the id after which the page begins.
    pub continuation: Option<(String, String)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Get,
    Put,
    Delete,
    List,
}

/// `None` for an operation on anything else.
fn verb_of(operation: Operation) -> Option<(Verb, Kind)> {
    use Operation as O;
    use Verb::{Delete, Get, List, Put};
    Some(match operation {
        O::GetBucketTagging => (Get, Kind::Tagging),
        O::PutBucketTagging => (Put, Kind::Tagging),
        O::DeleteBucketTagging => (Delete, Kind::Tagging),
        O::GetPublicAccessBlock => (Get, Kind::PublicAccessBlock),
        O::PutPublicAccessBlock => (Put, Kind::PublicAccessBlock),
        O::DeletePublicAccessBlock => (Delete, Kind::PublicAccessBlock),
        O::GetBucketOwnershipControls => (Get, Kind::OwnershipControls),
        O::PutBucketOwnershipControls => (Put, Kind::OwnershipControls),
        O::DeleteBucketOwnershipControls => (Delete, Kind::OwnershipControls),
        O::GetBucketRequestPayment => (Get, Kind::RequestPayment),
        O::PutBucketRequestPayment => (Put, Kind::RequestPayment),
        O::GetBucketAccelerateConfiguration => (Get, Kind::Accelerate),
        O::PutBucketAccelerateConfiguration => (Put, Kind::Accelerate),
        O::GetBucketAbac => (Get, Kind::Abac),
        O::PutBucketAbac => (Put, Kind::Abac),
        O::GetBucketNotificationConfiguration => (Get, Kind::Notification),
        O::PutBucketNotificationConfiguration => (Put, Kind::Notification),
        O::GetBucketCors => (Get, Kind::Cors),
        O::PutBucketCors => (Put, Kind::Cors),
        O::DeleteBucketCors => (Delete, Kind::Cors),
        O::GetBucketAnalyticsConfiguration => (Get, Kind::Analytics),
        O::PutBucketAnalyticsConfiguration => (Put, Kind::Analytics),
        O::DeleteBucketAnalyticsConfiguration => (Delete, Kind::Analytics),
        O::ListBucketAnalyticsConfigurations => (List, Kind::Analytics),
        O::GetBucketIntelligentTieringConfiguration => (Get, Kind::IntelligentTiering),
        O::PutBucketIntelligentTieringConfiguration => (Put, Kind::IntelligentTiering),
        O::DeleteBucketIntelligentTieringConfiguration => (Delete, Kind::IntelligentTiering),
        O::ListBucketIntelligentTieringConfigurations => (List, Kind::IntelligentTiering),
        O::GetBucketInventoryConfiguration => (Get, Kind::Inventory),
        O::PutBucketInventoryConfiguration => (Put, Kind::Inventory),
        O::DeleteBucketInventoryConfiguration => (Delete, Kind::Inventory),
        O::ListBucketInventoryConfigurations => (List, Kind::Inventory),
        O::GetBucketMetricsConfiguration => (Get, Kind::Metrics),
        O::PutBucketMetricsConfiguration => (Put, Kind::Metrics),
        O::DeleteBucketMetricsConfiguration => (Delete, Kind::Metrics),
        O::ListBucketMetricsConfigurations => (List, Kind::Metrics),
        _ => return None,
    })
}

/// `None` for an operation on anything else.
pub(super) fn parse(operation: Operation, source: &Source<'_>) -> Result<Option<Parsed>> {
    let Some((verb, kind)) = verb_of(operation) else {
        return Ok(None);
    };
    let bucket = source.bucket()?;
    let id = match verb {
        Verb::List => String::new(),
        Verb::Get | Verb::Put | Verb::Delete => id(kind, source)?,
    };
    Ok(Some(match verb {
        Verb::Get => Parsed::Ready(GetConfiguration { operation, bucket, kind, id }.into()),
        Verb::Delete => Parsed::Ready(DeleteConfiguration { operation, bucket, kind, id }.into()),
        Verb::List => {
            let continuation = continuation(source)?;
            Parsed::Ready(ListConfigurations { operation, bucket, kind, continuation }.into())
        }
        Verb::Put => {
            if kind == Kind::Accelerate && bucket.name.as_str().contains('.') {
                return Err(Error::invalid_request(
                    "S3 Transfer Acceleration is not supported for buckets with periods (.) in their names",
                ));
            }
            let waiting = Waiting::PutConfiguration(Box::new(PutHead { operation, bucket, kind, id }));
            Parsed::AwaitsDocument(AwaitsDocument { plan: BodyPlan::of_document(source.head)?, waiting })
        }
    }))
}

fn id(kind: Kind, source: &Source<'_>) -> Result<String> {
    if kind.has_ids() {
        Ok(configuration::check_id(source.address.query.get("id").unwrap_or(""))?.to_owned())
    } else {
        Ok(String::new())
    }
}

fn continuation(source: &Source<'_>) -> Result<Option<(String, String)>> {
    let Some(token) = source.text("continuation-token") else {
        return Ok(None);
    };
    match token::decode(&token) {
        Some(after) => Ok(Some((token, after))),
        None => Err(Error::argument("continuation-token", &token, "The continuation token provided is incorrect")),
    }
}

/// A put whose document is still to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PutHead {
    pub(super) operation: Operation,
    bucket: BucketRef,
    kind: Kind,
    id: String,
}

impl PutHead {
    pub(super) fn read(self, document: &[u8]) -> Result<PutConfiguration> {
        let PutHead { operation, bucket, kind, id } = self;
        let configuration = configuration::read(kind, document)?;
        if configuration.id != id {
            let message = "The id of the query differs from the one of the configuration";
            return Err(Error::argument("id", &id, message));
        }
        Ok(PutConfiguration { operation, bucket, kind, id, content: configuration.content })
    }
}

macro_rules! demands_of_its_operation {
    ($($name:ident)*) => {
        $(impl Demands for $name {
            fn operation(&self) -> Operation {
                self.operation
            }

            fn bucket(&self) -> Option<&BucketRef> {
                Some(&self.bucket)
            }

            fn demands(&self) -> Vec<Demand<'_>> {
                let action = self.operation.action();
                vec![Demand { action, bucket: Some(&self.bucket.name), key: None, version: None }]
            }
        })*
    };
}

demands_of_its_operation! {
    GetConfiguration
    PutConfiguration
    DeleteConfiguration
    ListConfigurations
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;
    use crate::error::Code;
    use crate::head::Head;
    use crate::request::{self, Request};
    use crate::routing;

    fn ask(method: &str, target: &str, document: &str) -> Result<Request> {
        let head = Head { method, target, headers: &[] };
        let address = Address::split(&head, &[])?;
        match request::parse(routing::route(&head, &address)?, &head, &address)? {
            Parsed::Ready(request) => Ok(request),
            Parsed::AwaitsDocument(awaits) => awaits.read(document.as_bytes()),
        }
    }

    #[test]
    fn each_verb_of_each_kind_is_a_request_on_it() {
        let check = |method: &str, target: &str, document: &str, operation: Operation, action: &str| {
            let request = ask(method, target, document).unwrap();
            assert_eq!(request.operation(), operation);
            let demands: Vec<_> = request.demands().iter().map(|demand| (demand.action, demand.key)).collect();
            assert_eq!(demands, [(action, None)]);
            assert_eq!(request.bucket().map(|bucket| bucket.name.as_str()), Some("bucket"));
        };
        check("GET", "/bucket?tagging", "", Operation::GetBucketTagging, "s3:GetBucketTagging");
        check("DELETE", "/bucket?cors", "", Operation::DeleteBucketCors, "s3:PutBucketCORS");
        let paid = "<RequestPaymentConfiguration><Payer>Requester</Payer></RequestPaymentConfiguration>";
        let action = "s3:PutBucketRequestPayment";
        check("PUT", "/bucket?requestPayment", paid, Operation::PutBucketRequestPayment, action);
        let action = "s3:GetMetricsConfiguration";
        check("GET", "/bucket?metrics", "", Operation::ListBucketMetricsConfigurations, action);
        check("GET", "/bucket?metrics&id=i", "", Operation::GetBucketMetricsConfiguration, action);
    }

    #[test]
    fn ids_tokens_and_names_are_checked_with_the_head() {
        let check = |method: &str, target: &str, document: &str, expect: Code| {
            let code = ask(method, target, document).map_err(|error| error.code);
            assert_eq!(code, Err(expect), "{method} {target}");
        };
        let metrics = "<MetricsConfiguration><Id>i</Id></MetricsConfiguration>";
        assert!(ask("PUT", "/bucket?metrics&id=i", metrics).is_ok());
        check("PUT", "/bucket?metrics&id=other", metrics, Code::InvalidArgument);
        check("PUT", "/bucket?metrics&id=", metrics, Code::InvalidConfigurationId);
        check("GET", "/bucket?metrics&id=a%2Fb", "", Code::InvalidConfigurationId);
        check("DELETE", &format!("/bucket?inventory&id={}", "i".repeat(65)), "", Code::InvalidConfigurationId);
        check("PUT", "/bucket?metrics", metrics, Code::InvalidArgument);
        check("PUT", "/bucket?metrics&id=i", "", Code::MissingRequestBody);
        check("GET", "/bucket?metrics&continuation-token=x", "", Code::InvalidArgument);
        let status = "<AccelerateConfiguration><Status>Enabled</Status></AccelerateConfiguration>";
        assert!(ask("PUT", "/bucket?accelerate", status).is_ok());
        check("PUT", "/bucket.with.dots?accelerate", status, Code::InvalidRequest);
        assert!(ask("GET", "/bucket.with.dots?accelerate", "").is_ok());
    }
}
