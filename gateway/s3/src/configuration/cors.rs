//! Which pages of other origins may use a bucket: the rules, and what they say to a browser.

use super::fields::{Fields, malformed, text};
use crate::error::{Code, Error, Result};
use crate::head::{Head, parse_digits};
use crate::reply::Headers;
use crate::xml::{self, Element, Writer};

/// Longest document that sets rules.
pub const DOCUMENT_BYTES_MAX: usize = 64 * 1024;
/// Most rules of a bucket.
const RULES_MAX: usize = 100;
/// Longest id of a rule, in characters.
const ID_LEN_MAX: usize = 255;
const MAX_AGE_SECONDS_MAX: u64 = i32::MAX as u64;
/// Most headers that a page may ask about at once: anyone may ask, and each is held against every pattern of a rule.
const ASKED_HEADERS_MAX: usize = 100;

/// The methods that a rule may allow; a browser asks for no other one of an object store.
const METHODS: [&str; 5] = ["GET", "PUT", "POST", "DELETE", "HEAD"];

pub const ORIGIN: &str = "origin";
const REQUEST_METHOD: &str = "access-control-request-method";
const REQUEST_HEADERS: &str = "access-control-request-headers";

const NOT_ALLOWED: &str = "CORSResponse: This CORS request is not allowed. This is usually because the evalution of \
                           Origin, request method / Access-Control-Request-Method or Access-Control-Request-Headers \
                           are not whitelisted by the resource's CORS spec.";

/// One rule. What it allows, it allows together.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    id: Option<String>,
    origins: Vec<Pattern>,
    /// Never empty.
    methods: Vec<&'static str>,
    headers: Vec<Pattern>,
    exposed: Vec<String>,
    max_age_seconds: Option<u64>,
}

/// A text with at most one `*`, which stands for any characters or none.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern(String);

impl Pattern {
    fn matches(&self, text: &str) -> bool {
        self.matches_by(text, |part, text| part == text)
    }

    fn matches_in_any_case(&self, text: &str) -> bool {
        self.matches_by(text, |part, text| part.eq_ignore_ascii_case(text))
    }

    fn matches_by(&self, text: &str, equal: impl Fn(&[u8], &[u8]) -> bool) -> bool {
        let text = text.as_bytes();
        match self.0.split_once('*') {
            None => equal(self.0.as_bytes(), text),
            Some((start, end)) => {
                let room = text.len() >= start.len() + end.len();
                room && equal(start.as_bytes(), &text[..start.len()])
                    && equal(end.as_bytes(), &text[text.len() - end.len()..])
            }
        }
    }

    fn is_any(&self) -> bool {
        self.0 == "*"
    }
}

/// The rules of a bucket, in order: the first that allows a request counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules(Vec<Rule>);

/// What a browser says of a request that a page of another origin makes, or is about to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked<'a> {
    origin: &'a str,
    method: &'a str,
    /// Names of headers that the page would send, as they were written; one more than may be stands for any number.
    headers: Vec<&'a str>,
}

impl<'a> Asked<'a> {
    /// What `head` says, if it comes from a page. A method that is asked about counts instead of the request's own.
    pub fn of(head: &Head<'a>) -> Option<Asked<'a>> {
        let field = |name| head.bytes(name).and_then(|value| std::str::from_utf8(value).ok());
        let origin = field(ORIGIN).filter(|origin| !origin.is_empty())?;
        let method = field(REQUEST_METHOD).unwrap_or(head.method);
        let headers = field(REQUEST_HEADERS).unwrap_or_default();
        let names = headers.split(',').map(str::trim).filter(|name| !name.is_empty());
        let headers = names.take(ASKED_HEADERS_MAX + 1).collect();
        Some(Asked { origin, method, headers })
    }
}

/// What a rule says to a request that it allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed<'r, 'a> {
    rule: &'r Rule,
    /// The origin, or `*` when it is every origin's.
    origin: &'a str,
    headers: &'r [&'a str],
}

impl Rules {
    /// Reads the rules in what `configuration::read` made of a document.
    pub fn of_content(content: &str) -> Result<Rules> {
        let root = super::Kind::Cors.root();
        let document = format!("<{root}>{content}</{root}>");
        Rules::of(&mut Fields::of(&xml::read(document.as_bytes(), root)?)?)
    }

    fn of(fields: &mut Fields<'_>) -> Result<Rules> {
        let rules = fields.all("CORSRule");
        if !(1..=RULES_MAX).contains(&rules.len()) {
            return Err(malformed());
        }
        Ok(Rules(rules.into_iter().map(Rule::of).collect::<Result<_>>()?))
    }

    /// What the first rule says that allows `asked`, if any does.
    pub fn allow<'r, 'a>(&'r self, asked: &'r Asked<'a>) -> Option<Allowed<'r, 'a>> {
        if asked.headers.len() > ASKED_HEADERS_MAX {
            return None;
        }
        self.0.iter().find_map(|rule| rule.allow(asked))
    }
}

impl Rule {
    fn of(element: &Element) -> Result<Rule> {
        let mut fields = Fields::of(element)?;
        let id = fields.text("ID")?.map(str::to_owned);
        if id.as_ref().is_some_and(|id| id.chars().count() > ID_LEN_MAX) {
            return Err(malformed());
        }
        let rule = Rule {
            id,
            origins: patterns(&mut fields, "AllowedOrigin")?,
            methods: fields.all("AllowedMethod").into_iter().map(method).collect::<Result<_>>()?,
            headers: patterns(&mut fields, "AllowedHeader")?,
            exposed: fields.all("ExposeHeader").into_iter().map(exposed).collect::<Result<_>>()?,
            max_age_seconds: fields.text("MaxAgeSeconds")?.map(max_age).transpose()?,
        };
        fields.end()?;
        if rule.origins.is_empty() || rule.methods.is_empty() { Err(malformed()) } else { Ok(rule) }
    }

    fn allow<'r, 'a>(&'r self, asked: &'r Asked<'a>) -> Option<Allowed<'r, 'a>> {
        let origin = self.origins.iter().find(|origin| origin.matches(asked.origin))?;
        let has_method = self.methods.contains(&asked.method);
        let has_header = |name: &&str| self.headers.iter().any(|header| header.matches_in_any_case(name));
        let origin = if origin.is_any() { "*" } else { asked.origin };
        (has_method && asked.headers.iter().all(has_header)).then_some(Allowed {
            rule: self,
            origin,
            headers: &asked.headers,
        })
    }

    fn write(&self, xml: &mut Writer) {
        xml.open("CORSRule");
        xml.optional("ID", self.id.as_deref());
        self.origins.iter().for_each(|origin| xml.text("AllowedOrigin", &origin.0));
        self.methods.iter().for_each(|method| xml.text("AllowedMethod", method));
        self.headers.iter().for_each(|header| xml.text("AllowedHeader", &header.0));
        if let Some(seconds) = self.max_age_seconds {
            xml.number("MaxAgeSeconds", seconds);
        }
        self.exposed.iter().for_each(|header| xml.text("ExposeHeader", header));
        xml.close("CORSRule");
    }
}

pub(super) fn copy(fields: &mut Fields<'_>, xml: &mut Writer) -> Result<()> {
    Rules::of(fields)?.0.iter().for_each(|rule| rule.write(xml));
    Ok(())
}

fn patterns(fields: &mut Fields<'_>, name: &str) -> Result<Vec<Pattern>> {
    let pattern = |element| {
        let text: &str = text(element)?;
        if text.matches('*').count() > 1 {
            return Err(Error::invalid_request(format!("{name} \"{text}\" can not have more than one wildcard.")));
        }
        Ok(Pattern(text.to_owned()))
    };
    fields.all(name).into_iter().map(pattern).collect()
}

fn method(element: &Element) -> Result<&'static str> {
    let text = text(element)?;
    METHODS.iter().find(|method| **method == text).copied().ok_or_else(|| {
        Error::invalid_request(format!("Found unsupported HTTP method in CORS config. Unsupported method is {text}"))
    })
}

fn exposed(element: &Element) -> Result<String> {
    let text = text(element)?;
    if text.contains('*') {
        return Err(Error::invalid_request(format!(
            "ExposeHeader \"{text}\" contains wildcard. We currently do not support wildcard for ExposeHeader."
        )));
    }
    Ok(text.to_owned())
}

fn max_age(text: &str) -> Result<u64> {
    parse_digits(text.trim()).filter(|seconds| *seconds <= MAX_AGE_SECONDS_MAX).ok_or_else(malformed)
}

/// The answer to a browser that asks before it sends a request: what the rules say, or why not. `rules`: those of the
/// bucket, if it has any. No signature is asked for: a browser has none to send.
pub fn preflight(head: &Head<'_>, resource_type: &'static str, rules: Option<&Rules>) -> Result<Headers> {
    let asked_method = head.text(REQUEST_METHOD)?;
    let about =
        |error: Error| error.field("Method", asked_method.unwrap_or(head.method)).field("ResourceType", resource_type);
    let Some(asked) = Asked::of(head) else {
        return Err(Error::with(Code::BadRequest, "Insufficient information. Origin request header needed."));
    };
    let Some(rules) = rules else {
        let message = "CORSResponse: CORS is not enabled for this bucket.";
        return Err(about(Error::with(Code::CrossOriginForbidden, message)));
    };
    if !asked_method.is_some_and(|method| METHODS.contains(&method)) {
        // The word that S3 writes for a header that is not there.
        let message = format!("Invalid Access-Control-Request-Method: {}", asked_method.unwrap_or("null"));
        return Err(Error::with(Code::BadRequest, message));
    }
    match rules.allow(&asked) {
        Some(allowed) => Ok(allowed.headers()),
        None => Err(about(Error::with(Code::CrossOriginForbidden, NOT_ALLOWED))),
    }
}

impl Allowed<'_, '_> {
    /// What a reply says to the browser.
    pub fn headers(&self) -> Headers {
        let mut headers = Headers::new();
        self.push_to(&mut headers);
        headers
    }

    /// The same, at the end of a reply's own headers.
    pub fn push_to(&self, headers: &mut Headers) {
        headers.push("Access-Control-Allow-Origin", self.origin.as_bytes());
        headers.push("Access-Control-Allow-Methods", self.rule.methods.join(", ").as_bytes());
        if !self.headers.is_empty() {
            let names = self.headers.join(", ").to_ascii_lowercase();
            headers.push("Access-Control-Allow-Headers", names.as_bytes());
        }
        if !self.rule.exposed.is_empty() {
            headers.push("Access-Control-Expose-Headers", self.rule.exposed.join(", ").as_bytes());
        }
        if let Some(seconds) = self.rule.max_age_seconds {
            headers.push("Access-Control-Max-Age", seconds.to_string().as_bytes());
        }
        // Cookies and the like mean nothing here, but a page that sends them is told no without this.
        if self.origin != "*" {
            headers.push("Access-Control-Allow-Credentials", b"true");
        }
        let vary = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method";
        headers.push("Vary", vary.as_bytes());
    }
}
