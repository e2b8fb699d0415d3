//! What a client says of an object beside its bytes, packed: the store keeps it and never looks inside.
//!
//! Layout: a sequence of `id: u8, name_len: u8, value_len: u16 little-endian, name, value`. `name` is empty but for
//! `UserMetadata`. Ids are part of the on-disk format: an id is never given a second meaning.

/// What comes before each name.
const HEAD_BYTES: usize = 4;

/// Identity of one attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Attribute {
    ContentType = 1,
    ContentEncoding = 2,
    ContentLanguage = 3,
    ContentDisposition = 4,
    CacheControl = 5,
    Expires = 6,
    WebsiteRedirectLocation = 7,
    StorageClass = 8,
    /// Algorithm (1 byte), type (1 byte: 0 full object, 1 composite), then the digest.
    Checksum = 9,
    /// `name` is the metadata key in lower case, without `x-amz-meta-`.
    UserMetadata = 64,
}

impl Attribute {
    fn from_id(id: u8) -> Option<Attribute> {
        use Attribute::*;
        [
            ContentType,
            ContentEncoding,
            ContentLanguage,
            ContentDisposition,
            CacheControl,
            Expires,
            WebsiteRedirectLocation,
            StorageClass,
            Checksum,
            UserMetadata,
        ]
        .into_iter()
        .find(|&attribute| attribute as u8 == id)
    }
}

/// A packed list of attributes; empty for most small objects but for the content type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes(Vec<u8>);

impl Attributes {
    pub const LEN_MAX: usize = 16 * 1024;

    pub fn new() -> Attributes {
        Attributes::default()
    }

    /// Appends one attribute. Panics if `name` is over 255 bytes or `value` over 65,535: requests are bounded below both.
    pub fn push(&mut self, attribute: Attribute, name: &str, value: &[u8]) {
        let name_len = u8::try_from(name.len()).expect("metadata names are bounded by the request head");
        let value_len = u16::try_from(value.len()).expect("metadata values are bounded by the request head");
        // At once: a page of a listing makes a thousand of these, with one attribute each.
        self.0.reserve(HEAD_BYTES + name.len() + value.len());
        let [low, high] = value_len.to_le_bytes();
        self.0.extend_from_slice(&[attribute as u8, name_len, low, high]);
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(value);
    }

    /// Takes bytes that `as_bytes` gave; `None` if they are not whole attributes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Attributes> {
        AttributesView::parse(bytes).map(|view| Attributes(view.0.to_vec()))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// All attributes in the order they were pushed; ids of a later release are passed over.
    pub fn iter(&self) -> impl Iterator<Item = (Attribute, &str, &[u8])> {
        AttributesView(&self.0).iter()
    }

    pub fn get(&self, wanted: Attribute) -> Option<&[u8]> {
        self.iter().find(|(attribute, _, _)| *attribute == wanted).map(|(_, _, value)| value)
    }

    pub fn get_str(&self, wanted: Attribute) -> Option<&str> {
        self.get(wanted).and_then(|value| std::str::from_utf8(value).ok())
    }
}

/// A packed list of attributes where it lies: a page of a listing looks at a thousand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttributesView<'a>(&'a [u8]);

impl<'a> AttributesView<'a> {
    /// As `Attributes::from_bytes`, without a copy.
    pub fn parse(bytes: &'a [u8]) -> Option<AttributesView<'a>> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (_, _, _, after) = split_first(rest)?;
            rest = after;
        }
        Some(AttributesView(bytes))
    }

    /// As `Attributes::iter`.
    pub fn iter(self) -> impl Iterator<Item = (Attribute, &'a str, &'a [u8])> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (id, name, value, after) = split_first(rest)?;
            rest = after;
            Some((id, name, value))
        })
        .filter_map(|(id, name, value)| Some((Attribute::from_id(id)?, name, value)))
    }

    /// A copy of some of them. Does not allocate if there are none.
    pub fn select(self, wanted: &[Attribute]) -> Attributes {
        let mut selected = Attributes::new();
        for (attribute, name, value) in self.iter().filter(|(attribute, _, _)| wanted.contains(attribute)) {
            selected.push(attribute, name, value);
        }
        selected
    }
}

fn split_first(bytes: &[u8]) -> Option<(u8, &str, &[u8], &[u8])> {
    let (head, rest) = bytes.split_at_checked(HEAD_BYTES)?;
    let (name, rest) = rest.split_at_checked(usize::from(head[1]))?;
    let (value, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes([head[2], head[3]])))?;
    Some((head[0], std::str::from_utf8(name).ok()?, value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_have_golden_bytes_and_read_back() {
        let mut attributes = Attributes::new();
        attributes.push(Attribute::ContentType, "", b"a/b");
        attributes.push(Attribute::UserMetadata, "k", b"v");
        assert_eq!(attributes.as_bytes(), b"\x01\x00\x03\x00a/b\x40\x01\x01\x00kv");
        assert_eq!(Attributes::from_bytes(attributes.as_bytes()), Some(attributes.clone()));
        assert_eq!(attributes.get_str(Attribute::ContentType), Some("a/b"));
        let view = AttributesView::parse(attributes.as_bytes()).expect("whole");
        assert_eq!(view.select(&[Attribute::UserMetadata]).as_bytes(), b"\x40\x01\x01\x00kv");
        assert_eq!(view.select(&[]), Attributes::new());
        let cut = &attributes.as_bytes()[..attributes.as_bytes().len() - 1];
        assert_eq!(Attributes::from_bytes(cut), None);
    }
}
