//! The analysis of how objects are used, which may be exported to a bucket.

use super::fields::Fields;
use super::filter::{self, Conditions};
use super::inventory::copy_bucket_arn;
use crate::error::Result;
use crate::xml::Writer;

pub(super) fn copy(fields: &mut Fields<'_>, xml: &mut Writer) -> Result<()> {
    filter::copy(fields, Conditions::PrefixAndTags, xml)?;
    let mut analysis = fields.required_inner("StorageClassAnalysis")?;
    xml.open("StorageClassAnalysis");
    if let Some(mut export) = analysis.inner("DataExport")? {
        xml.open("DataExport");
        xml.text("OutputSchemaVersion", export.required_word("OutputSchemaVersion", &["V_1"])?);
        let mut destination = export.required_inner("Destination")?;
        let mut bucket = destination.required_inner("S3BucketDestination")?;
        destination.end()?;
        export.end()?;
        xml.open("Destination");
        xml.open("S3BucketDestination");
        xml.text("Format", bucket.required_word("Format", &["CSV"])?);
        xml.optional("BucketAccountId", bucket.text("BucketAccountId")?);
        copy_bucket_arn(&mut bucket, xml)?;
        xml.optional("Prefix", bucket.text("Prefix")?);
        bucket.end()?;
        xml.close("S3BucketDestination");
        xml.close("Destination");
        xml.close("DataExport");
    }
    analysis.end()?;
    xml.close("StorageClassAnalysis");
    Ok(())
}
