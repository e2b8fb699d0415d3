//! What a request claims about its signature, from the `Authorization` header or from the query.

use crate::date;
use crate::error::{Code, Error, Result};
use crate::head::{Head, parse_digits};
use crate::query::Query;

use super::{ALGORITHM, PRESIGNED_SECONDS_MAX, TERMINATOR};

/// Whose key signs, on which day, where and for what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope {
    pub access_key: String,
    /// `YYYYMMDD`.
    pub date: String,
    pub region: String,
    pub service: String,
}

impl Scope {
    fn parse(credential: &str) -> Option<Scope> {
        // From the right: an access key may hold slashes.
        let mut pieces = credential.rsplitn(5, '/');
        let end = pieces.next()?;
        let (service, region, date) = (pieces.next()?, pieces.next()?, pieces.next()?);
        let access_key = pieces.next()?;
        let shape = end == TERMINATOR && date.len() == 8 && parse_digits(date).is_some() && !access_key.is_empty();
        shape.then(|| Scope {
            access_key: access_key.to_owned(),
            date: date.to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
        })
    }

    /// The scope as strings to sign hold it: without the access key.
    pub fn text(&self) -> String {
        [&self.date, &self.region, &self.service, TERMINATOR].join("/")
    }
}

pub(super) struct Claimed {
    pub scope: Scope,
    /// In the order given, lower case.
    pub signed_headers: Vec<String>,
    pub signature: String,
    /// Unix seconds.
    pub signed_at: u64,
    pub session_token: Option<String>,
    pub via: Via,
}

#[derive(Clone, Copy)]
pub(super) enum Via {
    Header,
    Query {
        /// Seconds.
        lifetime: u64,
    },
}

/// Query parameters that belong to a signature of some version.
const TRACES: [&str; 7] = [
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Signature",
    "X-Amz-SignedHeaders",
    "X-Amz-Expires",
    "AWSAccessKeyId",
    "Signature",
];

/// Reads the claim; `None` only when nothing in the request speaks of a signature.
pub(super) fn read(head: &Head<'_>, query: &Query) -> Result<Option<Claimed>> {
    let in_query = query.iter().any(|p| TRACES.iter().any(|trace| trace.eq_ignore_ascii_case(&p.name)));
    match (head.has("authorization"), in_query) {
        (false, false) => Ok(None),
        (true, true) => Err(Error::argument(
            "Authorization",
            "",
            "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string \
             parameter or the Authorization header should be specified",
        )),
        (true, false) => from_header(head).map(Some),
        (false, true) => from_query(query).map(Some),
    }
}

/// Of the `Authorization` header.
const FIELDS: [&str; 3] = ["Credential", "SignedHeaders", "Signature"];

fn unsupported() -> Error {
    Error::invalid_request(
        "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
    )
}

fn from_header(head: &Head<'_>) -> Result<Claimed> {
    let value = head.single("authorization")?.unwrap_or("");
    if value.is_empty() {
        return Err(Error::new(Code::AccessDenied));
    }
    let (scheme, fields) = value.split_once(' ').unwrap_or((value, ""));
    match scheme {
        ALGORITHM => {}
        "AWS4-ECDSA-P256-SHA256" => return Err(unsupported()),
        // Version 2: `AWS key:signature`.
        "AWS" if fields.contains(':') => return Err(unsupported()),
        _ => return Err(Error::argument("Authorization", value, "Unsupported Authorization Type")),
    }
    let malformed = |what: &str| {
        let message = format!("The authorization header is malformed; {what}");
        Error::with(Code::AuthorizationHeaderMalformed, message)
    };
    // How often each field is there, and what it is.
    let mut found = FIELDS.map(|name| (name, 0_u32, ""));
    for field in fields.split(',') {
        let Some((name, value)) = field.trim().split_once('=') else { continue };
        if let Some(known) = found.iter_mut().find(|(known, ..)| *known == name) {
            *known = (known.0, known.1 + 1, value);
        }
    }
    let [credential, signed, signature] = found.map(|(name, count, value)| match (count, value) {
        (1, value) if !value.is_empty() => Ok(value),
        _ => Err(malformed(&format!("the authorization header requires one {name}"))),
    });
    let credential = credential?;
    let scope = Scope::parse(credential).ok_or_else(|| {
        malformed("the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".")
    })?;
    let signed_headers = signed_headers(signed?);
    let signature = signature?.to_owned();
    Ok(Claimed {
        scope,
        signed_headers,
        signature,
        signed_at: signing_time(head)?,
        session_token: head.single("x-amz-security-token")?.map(str::to_owned),
        via: Via::Header,
    })
}

/// `x-amz-date` wins over `Date`, also when it cannot be read.
fn signing_time(head: &Head<'_>) -> Result<u64> {
    let missing = || Error::with(Code::AccessDenied, "AWS authentication requires a valid Date or x-amz-date header");
    let parse = |text: &str| date::parse_basic(text).or_else(|| date::parse_http(text));
    match head.single("x-amz-date")? {
        Some(text) => parse(text).ok_or_else(missing),
        None => head.single("date")?.and_then(parse).ok_or_else(missing),
    }
}

fn signed_headers(list: &str) -> Vec<String> {
    list.split(';').filter(|name| !name.is_empty()).map(str::to_ascii_lowercase).collect()
}

fn from_query(query: &Query) -> Result<Claimed> {
    if !query.has("X-Amz-Algorithm") && (query.has("AWSAccessKeyId") || query.has("Signature")) {
        return Err(unsupported());
    }
    let malformed = |message: &'static str| Error::with(Code::AuthorizationQueryParametersError, message);
    let field = |name: &str| -> Result<&str> {
        let mut found = query.iter().filter(|parameter| parameter.name == name);
        match (found.next().and_then(|parameter| parameter.value.as_deref()), found.next()) {
            (Some(value), None) if !value.is_empty() => Ok(value),
            _ => Err(Error::new(Code::AuthorizationQueryParametersError)),
        }
    };
    if field("X-Amz-Algorithm")? != ALGORITHM {
        return Err(malformed("X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\""));
    }
    let scope = Scope::parse(field("X-Amz-Credential")?).ok_or_else(|| {
        malformed(
            "Error parsing the X-Amz-Credential parameter; the Credential is mal-formed; expecting \
             \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".",
        )
    })?;
    let signed_at = date::parse_basic(field("X-Amz-Date")?)
        .ok_or_else(|| malformed("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\""))?;
    let lifetime = field("X-Amz-Expires")?;
    let lifetime = match lifetime.parse::<i64>() {
        Ok(seconds) if (1..=PRESIGNED_SECONDS_MAX as i64).contains(&seconds) => seconds as u64,
        Ok(_) => return Err(Error::new(Code::AuthorizationExpiresOutOfRange)),
        Err(_) => return Err(malformed("X-Amz-Expires should be a number")),
    };
    let signed_headers = signed_headers(field("X-Amz-SignedHeaders")?);
    let signature = field("X-Amz-Signature")?.to_owned();
    Ok(Claimed {
        scope,
        signed_headers,
        signature,
        signed_at,
        session_token: query.get_filled("X-Amz-Security-Token").map(str::to_owned),
        via: Via::Query { lifetime },
    })
}
