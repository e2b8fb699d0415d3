//! Condition keys: how a policy names them, and how a request answers for them.

use std::borrow::Cow;
use std::net::IpAddr;

use super::date;

/// The name of a condition key. Names compare without regard to case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Lower case, up to the first slash behind the vendor.
    name: Box<str>,
    /// Behind that slash, as written.
    tag: Option<Box<str>>,
}

impl Key {
    pub fn new(text: &str) -> Key {
        // The vendor may be the address of an identity provider, with slashes of its own.
        let vendor = text.find(':').unwrap_or(text.len());
        let (name, tag) = match text[vendor..].find('/') {
            Some(at) => (&text[..vendor + at], Some(text[vendor + at + 1..].into())),
            None => (text, None),
        };
        Key { name: name.to_ascii_lowercase().into(), tag }
    }

    /// In lower case and without the tag: `s3:existingobjecttag` of `s3:ExistingObjectTag/Team`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The tag that the policy asks for, as it writes it: `Team` of `s3:ExistingObjectTag/Team`.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }
}

/// What a request says of its condition keys. Only keys that a policy names are asked for, so that nothing has to be
/// prepared.
pub trait Keys {
    /// The values of `key`; keys that this request does not have, or that are unknown, are `Absent`.
    fn values(&self, key: &Key) -> Values<'_>;
}

/// A request without any key.
impl Keys for () {
    fn values(&self, _: &Key) -> Values<'_> {
        Values::Absent
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Values<'a> {
    #[default]
    Absent,
    One(Value<'a>),
    /// Of a key that may have several, like `s3:RequestObjectTagKeys`. None at all is the same as absent.
    Many(Vec<Value<'a>>),
}

impl<'a> Values<'a> {
    pub(super) fn as_slice(&self) -> &[Value<'a>] {
        match self {
            Values::Absent => &[],
            Values::One(value) => std::slice::from_ref(value),
            Values::Many(values) => values,
        }
    }

    /// The one value as a variable of a policy shows it. A key with several has none: AWS forbids it there.
    pub(super) fn into_variable(self) -> Option<Cow<'a, str>> {
        match self {
            Values::Absent | Values::Many(_) => None,
            Values::One(value) => Some(value.into_text()),
        }
    }
}

impl<'a, V: Into<Value<'a>>> From<V> for Values<'a> {
    fn from(value: V) -> Values<'a> {
        Values::One(value.into())
    }
}

/// One value. The types spare requests the way through text; each operator reads texts as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    Text(Cow<'a, str>),
    Number(i64),
    Bool(bool),
    /// Unix milliseconds.
    Time(i64),
    Address(IpAddr),
}

impl<'a> Value<'a> {
    pub(super) fn text(&self) -> Cow<'_, str> {
        match self {
            Value::Text(text) => Cow::Borrowed(text),
            Value::Number(_) | Value::Bool(_) | Value::Time(_) | Value::Address(_) => self.clone().into_text(),
        }
    }

    fn into_text(self) -> Cow<'a, str> {
        match self {
            Value::Text(text) => text,
            Value::Number(number) => Cow::Owned(number.to_string()),
            Value::Bool(true) => Cow::Borrowed("true"),
            Value::Bool(false) => Cow::Borrowed("false"),
            Value::Time(milliseconds) => Cow::Owned(date::iso8601(milliseconds)),
            Value::Address(address) => Cow::Owned(address.to_canonical().to_string()),
        }
    }

    /// Whether it is the empty text, which the operators on sets take for no value.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Value::Text(text) => text.is_empty(),
            Value::Number(_) | Value::Bool(_) | Value::Time(_) | Value::Address(_) => false,
        }
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Value<'a> {
        Value::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Value::Text(Cow::Owned(text))
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Value::Number(number)
    }
}

impl From<IpAddr> for Value<'_> {
    fn from(address: IpAddr) -> Self {
        Value::Address(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_a_name_without_case_and_a_tag_as_written() {
        let check = |text: &str, name: &str, tag: Option<&str>| {
            let key = Key::new(text);
            assert_eq!((key.name(), key.tag()), (name, tag), "{text}");
        };
        check("aws:SourceIp", "aws:sourceip", None);
        check("AWS:SourceIP", "aws:sourceip", None);
        check("s3:ExistingObjectTag/Team", "s3:existingobjecttag", Some("Team"));
        check("s3:ExistingObjectTag/a/B", "s3:existingobjecttag", Some("a/B"));
        check("s3:x/", "s3:x", Some(""));
        check("id.Example.org/realms/R:sub", "id.example.org/realms/r:sub", None);
        check("no/vendor", "no/vendor", None);
    }

    #[test]
    fn values_of_every_type_have_a_text() {
        let check = |value: Value<'_>, text: &str| {
            assert_eq!(value.text(), text);
            assert_eq!(Values::One(value).into_variable().as_deref(), Some(text));
        };
        check("text".into(), "text");
        check(String::from("text").into(), "text");
        check(7.into(), "7");
        check(true.into(), "true");
        check(false.into(), "false");
        check(Value::Time(1_372_550_400_000), "2013-06-30T00:00:00Z");
        check(IpAddr::from([127, 0, 0, 1]).into(), "127.0.0.1");
        check("::ffff:127.0.0.1".parse::<IpAddr>().unwrap().into(), "127.0.0.1");
    }

    #[test]
    fn a_key_with_several_values_is_no_variable() {
        assert_eq!(Values::Absent.into_variable(), None);
        assert_eq!(Values::Many(vec!["a".into(), "b".into()]).into_variable(), None);
        assert_eq!(().values(&Key::new("aws:SourceIp")), Values::Absent);
    }
}
