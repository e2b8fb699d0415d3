//! What a client says of an object beside its bytes: content headers, user metadata, storage class; in and out.

use types::{Attribute, Attributes};

use crate::base64;
use crate::error::{Code, Error, Result};
use crate::head::Head;
use crate::query::{self, Plus};
use crate::reply::{Headers, is_token};

/// Most bytes of user metadata: names without prefix, and values.
pub const USER_METADATA_BYTES_MAX: usize = 2 * 1024;
/// Most bytes of one content header; the head of a request is bounded below this times the headers it has.
pub const CONTENT_HEADER_BYTES_MAX: usize = 8 * 1024;

const USER_PREFIX: &str = "x-amz-meta-";
/// The content type of an object that was given none.
pub const CONTENT_TYPE_DEFAULT: &str = "binary/octet-stream";
/// The storage class that is meant when none is named; it is not kept.
pub const STORAGE_CLASS_DEFAULT: &str = "STANDARD";

const STORAGE_CLASSES: [&str; 8] = [
    STORAGE_CLASS_DEFAULT,
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER",
    "GLACIER_IR",
    "DEEP_ARCHIVE",
];

/// Headers that are kept as sent and given back as kept.
const CONTENT_HEADERS: [(Attribute, &str); 6] = [
    (Attribute::ContentType, "Content-Type"),
    (Attribute::ContentLanguage, "Content-Language"),
    (Attribute::ContentDisposition, "Content-Disposition"),
    (Attribute::CacheControl, "Cache-Control"),
    // Not parsed: clients get back the string they sent.
    (Attribute::Expires, "Expires"),
    (Attribute::WebsiteRedirectLocation, "x-amz-website-redirect-location"),
];

/// Reads all attributes of a write's head.
pub fn attributes(head: &Head<'_>) -> Result<Attributes> {
    let mut attributes = Attributes::new();
    for (attribute, name) in CONTENT_HEADERS {
        let Some(value) = head.bytes(name).filter(|value| !value.is_empty()) else {
            continue;
        };
        if attribute == Attribute::WebsiteRedirectLocation && !is_redirect(value) {
            return Err(Error::argument(
                name,
                &String::from_utf8_lossy(value),
                "The website redirect location must have a prefix of 'http://' or 'https://' or '/'.",
            ));
        }
        push_content(&mut attributes, attribute, value)?;
    }
    let encoding = content_encoding(head)?;
    if !encoding.is_empty() {
        push_content(&mut attributes, Attribute::ContentEncoding, encoding.as_bytes())?;
    }
    if let Some(class) = storage_class(head)? {
        attributes.push(Attribute::StorageClass, "", class.as_bytes());
    }
    user_metadata(head, &mut attributes)?;
    Ok(attributes)
}

fn is_redirect(value: &[u8]) -> bool {
    [b"http://".as_slice(), b"https://", b"/"].iter().any(|prefix| value.starts_with(prefix))
}

fn push_content(attributes: &mut Attributes, attribute: Attribute, value: &[u8]) -> Result<()> {
    if value.len() > CONTENT_HEADER_BYTES_MAX || attributes.as_bytes().len() + value.len() > Attributes::LEN_MAX / 2 {
        return Err(Error::new(Code::RequestHeaderSectionTooLarge));
    }
    attributes.push(attribute, "", value);
    Ok(())
}

/// `Content-Encoding` without `aws-chunked`, which belongs to the transfer and not to the object. A value that never
/// held it keeps its own spelling.
fn content_encoding(head: &Head<'_>) -> Result<String> {
    let mut encodings = Vec::new();
    for value in head.values("content-encoding") {
        let value = std::str::from_utf8(value)
            .map_err(|_| Error::argument("Content-Encoding", "", "The header is not valid UTF-8"))?;
        let is_chunked = |name: &str| name.eq_ignore_ascii_case("aws-chunked");
        if value.split(',').any(|name| is_chunked(name.trim())) {
            let named = value.split(',').map(str::trim);
            encodings.extend(named.filter(|name| !name.is_empty() && !is_chunked(name)));
        } else if !value.is_empty() {
            encodings.push(value);
        }
    }
    Ok(encodings.join(", "))
}

/// The storage class to keep; `None` for the default one.
fn storage_class(head: &Head<'_>) -> Result<Option<&'static str>> {
    let Some(name) = head.single("x-amz-storage-class")?.filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    match STORAGE_CLASSES.iter().find(|class| **class == name) {
        Some(&STORAGE_CLASS_DEFAULT) => Ok(None),
        Some(class) => Ok(Some(class)),
        None => Err(Error::new(Code::InvalidStorageClass).field("StorageClassRequested", name)),
    }
}

fn user_metadata(head: &Head<'_>, attributes: &mut Attributes) -> Result<()> {
    let mut entries: Vec<(String, Vec<u8>)> = Vec::new();
    for (name, value) in head.headers {
        let Some((prefix, name)) = name.split_at_checked(USER_PREFIX.len()) else {
            continue;
        };
        if !prefix.eq_ignore_ascii_case(USER_PREFIX) {
            continue;
        }
        if !is_token(name) {
            return Err(Error::argument("x-amz-meta-", name, "The name of a metadata entry is no header name"));
        }
        let name = name.to_ascii_lowercase();
        let value = decode_words(value.trim_ascii());
        // Two headers of one name are one value, as anywhere in HTTP.
        match entries.iter_mut().find(|(known, _)| *known == name) {
            Some((_, all)) => {
                all.push(b',');
                all.extend(value);
            }
            None => entries.push((name, value)),
        }
    }
    let size: usize = entries.iter().map(|(name, value)| name.len() + value.len()).sum();
    let name_max = usize::from(u8::MAX);
    if size > USER_METADATA_BYTES_MAX || entries.iter().any(|(name, _)| name.len() > name_max) {
        return Err(Error::new(Code::MetadataTooLarge)
            .field("Size", size.to_string())
            .field("MaxSizeAllowed", USER_METADATA_BYTES_MAX.to_string()));
    }
    for (name, value) in entries {
        attributes.push(Attribute::UserMetadata, &name, &value);
    }
    Ok(())
}

/// Decodes the encoded words of RFC 2047 (UTF-8 or US-ASCII, B or Q); anything else stays as it is.
fn decode_words(value: &[u8]) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(value) else {
        return value.to_vec();
    };
    let mut out = Vec::with_capacity(value.len());
    let mut rest = text;
    let mut after_word = false;
    while let Some(at) = rest.find("=?") {
        let (plain, word) = rest.split_at(at);
        match decode_word(word) {
            Some((decoded, after)) => {
                // Blanks between two encoded words belong to neither.
                if !(after_word && plain.trim().is_empty()) {
                    out.extend(plain.as_bytes());
                }
                out.extend(decoded);
                after_word = true;
                rest = after;
            }
            None => {
                out.extend(plain.as_bytes());
                out.extend(b"=?");
                after_word = false;
                rest = &word[2..];
            }
        }
    }
    out.extend(rest.as_bytes());
    out
}

fn decode_word(word: &str) -> Option<(Vec<u8>, &str)> {
    let (charset, rest) = word.strip_prefix("=?")?.split_once('?')?;
    let (method, rest) = rest.split_once('?')?;
    let (encoded, after) = rest.split_once("?=")?;
    if !["utf-8", "us-ascii"].iter().any(|known| charset.eq_ignore_ascii_case(known)) {
        return None;
    }
    let decoded = match method {
        "B" | "b" => base64::decode(encoded)?,
        "Q" | "q" => {
            let escaped = encoded.replace('%', "%25").replace('_', "%20").replace('=', "%");
            query::decode(&escaped, Plus::IsPlus).ok()?
        }
        _ => return None,
    };
    std::str::from_utf8(&decoded).ok()?;
    Some((decoded, after))
}

/// A metadata value as it may stand in a header: UTF-8 beyond ASCII, and anything that could break the head, becomes
/// an encoded word; bytes that are not UTF-8 go back as they came.
fn encode_value(value: &[u8]) -> Vec<u8> {
    let plain = value.iter().all(|byte| matches!(byte, 0x20..=0x7e | b'\t'));
    let safe = value.iter().all(|byte| *byte >= 0x20 && *byte != 0x7f);
    if plain || (std::str::from_utf8(value).is_err() && safe) {
        return value.to_vec();
    }
    format!("=?UTF-8?B?{}?=", base64::encode(value)).into_bytes()
}

/// Writes the headers that tell an object's attributes. `overrides` are the `response-*` parameters of a read.
pub fn write_headers(attributes: &Attributes, overrides: &ResponseOverrides, headers: &mut Headers) {
    let names = CONTENT_HEADERS.iter().chain(&[(Attribute::ContentEncoding, "Content-Encoding")]);
    for &(attribute, name) in names {
        if let Some(value) = overrides.get(attribute) {
            headers.push(name, value.as_bytes());
        } else if let Some(value) = attributes.get(attribute) {
            headers.push(name, value);
        } else if attribute == Attribute::ContentType {
            headers.push(name, CONTENT_TYPE_DEFAULT.as_bytes());
        }
    }
    if let Some(class) = attributes.get(Attribute::StorageClass) {
        headers.push("x-amz-storage-class", class);
    }
    for (attribute, name, value) in attributes.iter() {
        if attribute == Attribute::UserMetadata {
            headers.push(&format!("{USER_PREFIX}{name}"), &encode_value(value));
        }
    }
}

/// The storage class as listings show it.
pub fn storage_class_of(attributes: &Attributes) -> &str {
    attributes.get_str(Attribute::StorageClass).unwrap_or(STORAGE_CLASS_DEFAULT)
}

/// The attributes of a copy that keeps its source's metadata: content headers and user metadata come from `source`;
/// storage class and redirect are said anew by each request, and the checksum is the copy's own.
pub fn attributes_of_copy(source: &Attributes, request: &Attributes) -> Attributes {
    let own = |attribute| matches!(attribute, Attribute::StorageClass | Attribute::WebsiteRedirectLocation);
    let mut attributes = Attributes::new();
    for (attribute, name, value) in source.iter() {
        if !own(attribute) && attribute != Attribute::Checksum {
            attributes.push(attribute, name, value);
        }
    }
    for (attribute, name, value) in request.iter().filter(|(attribute, _, _)| own(*attribute)) {
        attributes.push(attribute, name, value);
    }
    attributes
}

/// The `response-*` parameters of a read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseOverrides(Vec<(Attribute, String)>);

const OVERRIDES: [(Attribute, &str); 6] = [
    (Attribute::ContentType, "response-content-type"),
    (Attribute::ContentLanguage, "response-content-language"),
    (Attribute::Expires, "response-expires"),
    (Attribute::CacheControl, "response-cache-control"),
    (Attribute::ContentDisposition, "response-content-disposition"),
    (Attribute::ContentEncoding, "response-content-encoding"),
];

impl ResponseOverrides {
    /// Reads them; a value that could not stand in a header is refused.
    pub fn from_query(query: &query::Query) -> Result<ResponseOverrides> {
        let mut overrides = Vec::new();
        for (attribute, name) in OVERRIDES {
            let Some(value) = query.get_filled(name) else {
                continue;
            };
            if value.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
                return Err(Error::argument(name, "", "Header value cannot be represented"));
            }
            overrides.push((attribute, value.to_owned()));
        }
        Ok(ResponseOverrides(overrides))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn get(&self, wanted: Attribute) -> Option<&str> {
        self.0.iter().find(|(attribute, _)| *attribute == wanted).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(headers: &[(&str, &[u8])]) -> Result<Attributes> {
        attributes(&Head { method: "PUT", target: "/", headers })
    }

    fn written(attributes: &Attributes) -> Vec<(String, Vec<u8>)> {
        let mut headers = Headers::new();
        write_headers(attributes, &ResponseOverrides::default(), &mut headers);
        headers.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn echo(value: &[u8]) -> Vec<u8> {
        let attributes = parse(&[("X-Amz-Meta-Name", value)]).unwrap();
        let headers = written(&attributes);
        headers.into_iter().find(|(name, _)| name == "x-amz-meta-name").unwrap().1
    }

    #[test]
    fn aws_chunked_is_stripped_from_every_position_of_content_encoding() {
        let check = |value: &str, expect: Option<&str>| {
            let attributes = parse(&[("Content-Encoding", value.as_bytes())]).unwrap();
            assert_eq!(attributes.get_str(Attribute::ContentEncoding), expect, "{value}");
        };
        check("aws-chunked", None);
        check("aws-chunked,gzip", Some("gzip"));
        check("gzip, aws-chunked", Some("gzip"));
        check("gzip,AWS-Chunked,br", Some("gzip, br"));
        check("aws-chunked, deflate,aws-chunked", Some("deflate"));
        check("deflate,gzip", Some("deflate,gzip"));
        check("gzip", Some("gzip"));
    }

    #[test]
    fn user_metadata_is_lower_case_joined_and_limited_to_2_kib() {
        let attributes = parse(&[("X-Amz-Meta-A", b" 1 "), ("x-amz-meta-a", b"2")]).unwrap();
        let all: Vec<_> = attributes.iter().collect();
        assert_eq!(all, [(Attribute::UserMetadata, "a", b"1,2".as_slice())]);
        let value = vec![b'v'; USER_METADATA_BYTES_MAX - 1];
        assert!(parse(&[("x-amz-meta-a", &value)]).is_ok());
        let value = vec![b'v'; USER_METADATA_BYTES_MAX];
        assert_eq!(parse(&[("x-amz-meta-a", &value)]).unwrap_err().code, Code::MetadataTooLarge);
        let name = format!("x-amz-meta-{}", "n".repeat(256));
        assert_eq!(parse(&[(&name, b"v")]).unwrap_err().code, Code::MetadataTooLarge);
    }

    #[test]
    fn metadata_beyond_ascii_is_given_back_as_encoded_words_and_can_never_break_the_head() {
        assert_eq!(echo(b"plain"), b"plain");
        assert_eq!(echo("\u{e9}".as_bytes()), b"=?UTF-8?B?w6k=?=");
        assert_eq!(echo(b"=?UTF-8?Q?caf=C3=A9_1?="), "=?UTF-8?B?Y2Fmw6kgMQ==?=".as_bytes());
        assert_eq!(echo(b"=?utf-8?b?dGV4dA==?="), b"text");
        assert_eq!(echo(b"=?UTF-8?B?YQ==?= =?UTF-8?B?Yg==?= c"), b"ab c");
        assert_eq!(echo(b"=?UTF-8?B?DQo=?="), b"=?UTF-8?B?DQo=?=");
        assert_eq!(echo(b"=?koi8-r?B?w6k=?= =?"), b"=?koi8-r?B?w6k=?= =?");
        assert_eq!(echo(b"Hello World\xe9"), b"Hello World\xe9");
    }

    #[test]
    fn storage_classes_and_content_headers_are_kept() {
        let attributes = parse(&[("x-amz-storage-class", b"STANDARD"), ("Expires", b"soon, maybe")]).unwrap();
        assert_eq!(attributes.get(Attribute::StorageClass), None);
        assert_eq!(attributes.get_str(Attribute::Expires), Some("soon, maybe"));
        let kept = parse(&[("x-amz-storage-class", b"GLACIER")]).unwrap();
        assert_eq!(storage_class_of(&kept), "GLACIER");
        assert_eq!(parse(&[("x-amz-storage-class", b"COLD")]).unwrap_err().code, Code::InvalidStorageClass);
        let headers = written(&Attributes::new());
        assert_eq!(headers, [("Content-Type".to_owned(), CONTENT_TYPE_DEFAULT.as_bytes().to_vec())]);
    }

    #[test]
    fn a_copy_keeps_metadata_but_not_class_redirect_or_checksum() {
        let mut source =
            parse(&[("content-type", b"a/b"), ("x-amz-meta-k", b"v"), ("x-amz-storage-class", b"GLACIER")]).unwrap();
        source.push(Attribute::Checksum, "", b"\x01\x00abcd");
        let request = parse(&[("content-type", b"c/d"), ("x-amz-website-redirect-location", b"/x")]).unwrap();
        let copy = attributes_of_copy(&source, &request);
        let all: Vec<_> = copy.iter().map(|(attribute, _, value)| (attribute, value)).collect();
        let expect: [(Attribute, &[u8]); 3] = [
            (Attribute::ContentType, b"a/b"),
            (Attribute::UserMetadata, b"v"),
            (Attribute::WebsiteRedirectLocation, b"/x"),
        ];
        assert_eq!(all, expect);
    }

    #[test]
    fn a_response_override_cannot_smuggle_a_header() {
        let query = query::Query::parse("response-content-type=a%0d%0ab").unwrap();
        assert!(ResponseOverrides::from_query(&query).is_err());
    }
}
