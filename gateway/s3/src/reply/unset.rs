//! Replies to reads of configurations that are not set.

use super::{Owner, Reply};
use crate::error::{Error, Result};
use crate::request::{ReadUnset, Unset};
use crate::xml::Writer;

const GRANTEE: &str = "Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"CanonicalUser\"";

/// The answer to `request`; `owner` is the one of the bucket. An error where S3 has an error for it.
pub fn render_unset(request: &ReadUnset, owner: &Owner) -> Result<Reply> {
    let name = request.bucket.name.as_str();
    let mut xml = Writer::document();
    match request.unset {
        Unset::Missing(code) => return Err(Error::new(code).field("BucketName", name)),
        Unset::NotApplicable(message) => return Err(Error::invalid_request(message)),
        Unset::Document(elements, text) => {
            for (depth, element) in elements.iter().enumerate() {
                match depth {
                    0 => xml.open_root(element),
                    _ => xml.open(element),
                }
            }
            xml.content(text);
            for element in elements.iter().rev() {
                xml.close(element);
            }
        }
        Unset::OwnersList => {
            xml.open_root("AccessControlPolicy");
            owner.write("Owner", &mut xml);
            xml.open("AccessControlList");
            xml.open("Grant");
            xml.open(GRANTEE);
            xml.text("ID", &owner.id);
            xml.text("DisplayName", &owner.display_name);
            xml.close("Grantee");
            xml.text("Permission", "FULL_CONTROL");
            xml.close("Grant");
            xml.close("AccessControlList");
            xml.close("AccessControlPolicy");
        }
    }
    Ok(Reply::xml(200, xml))
}
