//! Which operation a request asks for, from one table of all that S3 has.

mod table;

pub use table::{Operation, ROUTES};

use crate::address::Address;
use crate::error::{Code, Error, Result};
use crate::head::Head;

/// What an operation is performed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Service,
    Bucket,
    Object,
}

impl Level {
    fn of(address: &Address) -> Level {
        match (&address.bucket, &address.key) {
            (_, Some(_)) => Level::Object,
            (Some(_), None) => Level::Bucket,
            (None, None) => Level::Service,
        }
    }

    fn resource_type(self) -> &'static str {
        match self {
            Level::Service => "SERVICE",
            Level::Bucket => "BUCKET",
            Level::Object => "OBJECT",
        }
    }
}

/// One row: how an operation is recognised.
#[derive(Debug)]
pub struct Route {
    pub operation: Operation,
    pub name: &'static str,
    pub method: &'static str,
    pub level: Level,
    /// Query parameters that must be there: `name`, or `name=value`. Their names are reserved sub-resources.
    pub needs: &'static [&'static str],
    /// A header that must be there.
    pub header: Option<&'static str>,
    /// Further query parameters the operation understands.
    pub parameters: &'static [&'static str],
    /// The action a policy decides on.
    pub action: &'static str,
    pub implemented: bool,
}

/// Sub-resources that are no S3 operation of the table but must not fall into one.
const RESERVED_BESIDE_TABLE: [&str; 4] = ["versionId", "events", "ping", "lambdaArn"];

impl Route {
    fn matches(&self, head: &Head<'_>, address: &Address) -> bool {
        let needs = self.needs.iter().all(|need| match need.split_once('=') {
            Some((name, value)) => address.query.get(name) == Some(value),
            None => address.query.has(need),
        });
        needs && self.header.is_none_or(|header| head.has(header))
    }

    /// A query names an operation more closely than a header does.
    fn specificity(&self) -> usize {
        self.needs.len() * 2 + usize::from(self.header.is_some())
    }

    fn need_names(&self) -> impl Iterator<Item = &'static str> {
        self.needs.iter().map(|need| need.split_once('=').map_or(*need, |(name, _)| name))
    }

    fn understands(&self, parameter: &str) -> bool {
        self.need_names().any(|name| name == parameter) || self.parameters.contains(&parameter)
    }
}

/// Parameters of signatures and SDKs, which any operation may carry.
fn belongs_to_every_operation(parameter: &str) -> bool {
    const NAMES: [&str; 5] = ["x-id", "AWSAccessKeyId", "Signature", "Expires", "x-amz-security-token"];
    NAMES.contains(&parameter)
        || parameter.get(..6).is_some_and(|prefix| prefix.eq_ignore_ascii_case("x-amz-"))
        || parameter.starts_with("response-")
}

/// Finds the operation of a request. Unknown parameters with a value are passed over, as S3 does; a sub-resource
/// that is not the operation's own, known or unknown, is refused and never falls into another operation.
pub fn route(head: &Head<'_>, address: &Address) -> Result<&'static Route> {
    let level = Level::of(address);
    if head.method == "OPTIONS" {
        return Err(Error::with(Code::CrossOriginForbidden, "CORSResponse: CORS is not enabled for this bucket."));
    }
    let best = ROUTES
        .iter()
        // The level first: it is compared at once, and tells most of them apart.
        .filter(|route| route.level == level && route.method == head.method && route.matches(head, address))
        // The first of equals: a deprecated twin comes after the operation that replaced it.
        .reduce(|best, route| if route.specificity() > best.specificity() { route } else { best });
    for parameter in address.query.iter() {
        let name = parameter.name.as_str();
        if best.is_some_and(|route| route.understands(name)) || belongs_to_every_operation(name) {
            continue;
        }
        let owners = || ROUTES.iter().filter(|route| route.need_names().any(|need| need == name));
        if owners().next().is_some() {
            let same_method = owners().any(|route| route.method == head.method && route.level == level);
            if same_method {
                return Err(Error::argument(name, "", format!("{name} does not go with the other parameters")));
            }
            if owners().any(|route| route.level == level) {
                return Err(method_not_allowed(head.method, level));
            }
            return Err(not_implemented(name));
        }
        if name == "versionId" {
            return Err(Error::argument(name, "", "This operation does not accept a version-id."));
        }
        let is_sub_resource = parameter.value.as_deref().unwrap_or("").is_empty();
        if is_sub_resource || RESERVED_BESIDE_TABLE.contains(&name) {
            return Err(not_implemented(name));
        }
    }
    match best {
        Some(route) => Ok(route),
        None if level == Level::Bucket && head.method == "POST" => {
            // A form upload: the one use of POST on a bucket without a sub-resource.
            Err(not_implemented("POST"))
        }
        None => Err(method_not_allowed(head.method, level)),
    }
}

fn not_implemented(what: &str) -> Error {
    Error::with(Code::NotImplemented, "The functionality you requested is not implemented").field("Parameter", what)
}

fn method_not_allowed(method: &str, level: Level) -> Error {
    Error::new(Code::MethodNotAllowed).field("Method", method).field("ResourceType", level.resource_type())
}

#[cfg(test)]
mod tests;
