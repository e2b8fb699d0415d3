//! Who is told of what happens in a bucket: topics, queues, functions, and the event bridge.

use codec::checksum::sha256;

use super::fields::{Fields, TEXT_BYTES_MAX, malformed, text};
use crate::base64;
use crate::error::{Code, Error, Result};
use crate::xml::{Element, Writer};

/// Most rules of a bucket.
const RULES_MAX: usize = 100;
/// Longest id of a rule, in bytes.
const ID_BYTES_MAX: usize = 255;
/// Bytes of a digest that make an id.
const ID_DIGEST_BYTES: usize = 24;

/// Where a rule's events go: the rule's element, the element of its target, the target's service in an ARN.
const TARGETS: [(&str, &str, &str); 3] = [
    ("TopicConfiguration", "Topic", "sns"),
    ("QueueConfiguration", "Queue", "sqs"),
    ("CloudFunctionConfiguration", "CloudFunction", "lambda"),
];

/// All that S3 tells of. `*` at the end stands for all that begin so.
const EVENTS: [&str; 31] = [
    "s3:ReducedRedundancyLostObject",
    "s3:ObjectCreated:*",
    "s3:ObjectCreated:Put",
    "s3:ObjectCreated:Post",
    "s3:ObjectCreated:Copy",
    "s3:ObjectCreated:CompleteMultipartUpload",
    "s3:ObjectRemoved:*",
    "s3:ObjectRemoved:Delete",
    "s3:ObjectRemoved:DeleteMarkerCreated",
    "s3:ObjectRestore:*",
    "s3:ObjectRestore:Post",
    "s3:ObjectRestore:Completed",
    "s3:ObjectRestore:Delete",
    "s3:Replication:*",
    "s3:Replication:OperationFailedReplication",
    "s3:Replication:OperationNotTracked",
    "s3:Replication:OperationMissedThreshold",
    "s3:Replication:OperationReplicatedAfterThreshold",
    "s3:LifecycleTransition",
    "s3:IntelligentTiering",
    "s3:ObjectAcl:Put",
    "s3:LifecycleExpiration:*",
    "s3:LifecycleExpiration:Delete",
    "s3:LifecycleExpiration:DeleteMarkerCreated",
    "s3:ObjectTagging:*",
    "s3:ObjectTagging:Put",
    "s3:ObjectTagging:Delete",
    "s3:ObjectAnnotation:*",
    "s3:ObjectAnnotation:Put",
    "s3:ObjectAnnotation:Delete",
    "s3:ObjectRetention:Put",
];

const SHARED_EVENT: &str =
    "Configurations overlap. Configurations on the same bucket cannot share a common event type.";
const AMBIGUOUS: &str = "Configuration is ambiguously defined. Cannot have overlapping suffixes in two rules if the \
                         prefixes are overlapping for the same event type.";

/// Which events of which keys go to one target.
struct Rule<'a> {
    /// Of `TARGETS`.
    element: &'static str,
    target: &'static str,
    id: Option<&'a str>,
    arn: &'a str,
    events: Vec<&'static str>,
    filter: Option<Filter<'a>>,
}

/// Absent is another thing to read than empty, and the same thing to match.
#[derive(Default)]
struct Filter<'a> {
    prefix: Option<&'a str>,
    suffix: Option<&'a str>,
}

pub(super) fn copy(fields: &mut Fields<'_>, xml: &mut Writer) -> Result<()> {
    let mut rules = Vec::new();
    for (element, target, service) in TARGETS {
        for rule in fields.all(element) {
            if rules.len() == RULES_MAX {
                let message = format!("Too many configurations submitted. The maximum is {RULES_MAX}");
                return Err(Error::invalid_request(message));
            }
            rules.push(Rule::of(rule, element, target, service)?);
        }
    }
    for (index, rule) in rules.iter().enumerate() {
        rules[..index].iter().try_for_each(|earlier| rule.check_beside(earlier))?;
    }
    for (index, rule) in rules.iter().enumerate() {
        let mut content = Writer::piece();
        rule.write(&mut content);
        let content = content.finish();
        xml.open(rule.element);
        match rule.id {
            Some(id) => xml.text("Id", id),
            None => xml.text("Id", &made_id(index, &content)),
        }
        xml.verbatim(&content);
        xml.close(rule.element);
    }
    if let Some(bridge) = fields.inner("EventBridgeConfiguration")? {
        bridge.end()?;
        xml.text("EventBridgeConfiguration", "");
    }
    Ok(())
}

/// The id of a rule to which the client gave none: made from what the rule says and where it stands, so that the same
/// document has the same ids each time, and one document no two that are the same.
fn made_id(index: usize, content: &str) -> String {
    let digest = sha256(format!("{index} {content}").as_bytes());
    base64::encode_url(&digest[..ID_DIGEST_BYTES])
}

impl<'a> Rule<'a> {
    fn of(element: &'a Element, name: &'static str, target: &'static str, service: &str) -> Result<Rule<'a>> {
        let mut fields = Fields::of(element)?;
        let id = fields.text("Id")?.filter(|id| !id.is_empty());
        if id.is_some_and(|id| id.len() > ID_BYTES_MAX) {
            let message = format!("ID length exceeded allowed limit of {ID_BYTES_MAX}");
            return Err(Error::with(Code::InvalidArgument, message));
        }
        let arn = fields.required_text(target)?.trim();
        check_arn(arn, target, service)?;
        let events = events(&fields.all("Event"))?;
        let filter = fields.inner("Filter")?.map(Filter::of).transpose()?;
        fields.end()?;
        Ok(Rule { element: name, target, id, arn, events, filter })
    }

    /// No two rules may tell two targets of one event, nor have one id.
    fn check_beside(&self, other: &Rule<'_>) -> Result<()> {
        if self.id.is_some() && self.id == other.id {
            let message = "Same ID used for multiple configurations. IDs must be unique.";
            return Err(Error::with(Code::InvalidArgument, message));
        }
        let share_events = self.events.iter().any(|event| other.events.iter().any(|other| overlap(event, other)));
        match (share_events, &self.filter, &other.filter) {
            (false, _, _) => Ok(()),
            (true, None, None) => Err(Error::with(Code::InvalidArgument, SHARED_EVENT)),
            (true, _, _) => {
                let [(prefix, suffix), (other_prefix, other_suffix)] = [self.ends(), other.ends()];
                let prefixes = prefix.starts_with(other_prefix) || other_prefix.starts_with(prefix);
                let suffixes = suffix.ends_with(other_suffix) || other_suffix.ends_with(suffix);
                if prefixes && suffixes { Err(Error::with(Code::InvalidArgument, AMBIGUOUS)) } else { Ok(()) }
            }
        }
    }

    /// What keys of this rule begin and end with.
    fn ends(&self) -> (&str, &str) {
        let filter = self.filter.as_ref();
        let prefix = filter.and_then(|filter| filter.prefix);
        (prefix.unwrap_or(""), filter.and_then(|filter| filter.suffix).unwrap_or(""))
    }

    /// All but the id.
    fn write(&self, xml: &mut Writer) {
        xml.text(self.target, self.arn);
        self.events.iter().for_each(|event| xml.text("Event", event));
        if let Some(filter) = &self.filter {
            xml.open("Filter");
            xml.open("S3Key");
            for (name, value) in [("Prefix", filter.prefix), ("Suffix", filter.suffix)] {
                if let Some(value) = value {
                    xml.open("FilterRule");
                    xml.text("Name", name);
                    xml.text("Value", value);
                    xml.close("FilterRule");
                }
            }
            xml.close("S3Key");
            xml.close("Filter");
        }
    }
}

impl<'a> Filter<'a> {
    fn of(mut fields: Fields<'a>) -> Result<Filter<'a>> {
        let mut key = fields.required_inner("S3Key")?;
        fields.end()?;
        let mut filter = Filter::default();
        for rule in key.all("FilterRule") {
            let mut rule = Fields::of(rule)?;
            let (name, value) = (rule.required_text("Name")?.trim(), rule.required("Value")?);
            rule.end()?;
            if value.text.len() > TEXT_BYTES_MAX {
                let message = format!("Size of filter rule value cannot exceed {TEXT_BYTES_MAX} bytes");
                return Err(Error::with(Code::InvalidArgument, message));
            }
            let place = match name {
                name if name.eq_ignore_ascii_case("prefix") => &mut filter.prefix,
                name if name.eq_ignore_ascii_case("suffix") => &mut filter.suffix,
                name => {
                    let message = "filter rule name must be either prefix or suffix";
                    return Err(Error::argument("FilterRule.Name", name, message));
                }
            };
            if place.replace(text(value)?).is_some() {
                let message = "Cannot specify more than one rule of the same name in a filter.";
                return Err(Error::argument("FilterRule.Name", name, message));
            }
        }
        key.end()?;
        Ok(filter)
    }
}

/// The events of a rule: at least one, none of which another one holds already.
fn events(elements: &[&Element]) -> Result<Vec<&'static str>> {
    let mut events: Vec<&'static str> = Vec::new();
    for element in elements {
        let name = text(element)?.trim();
        let event = EVENTS.iter().find(|event| **event == name).copied();
        let event = event
            .ok_or_else(|| Error::argument("Event", name, "A specified event is not supported for notifications."))?;
        if events.iter().any(|earlier| overlap(earlier, event)) {
            return Err(Error::with(Code::InvalidArgument, SHARED_EVENT));
        }
        events.push(event);
    }
    if events.is_empty() { Err(malformed()) } else { Ok(events) }
}

/// Whether there is anything that both names stand for.
fn overlap(one: &str, other: &str) -> bool {
    let holds = |wide: &str, narrow: &str| wide.strip_suffix('*').is_some_and(|start| narrow.starts_with(start));
    one == other || holds(one, other) || holds(other, one)
}

/// `arn:partition:service:region:account:resource`. Region and account may be empty: targets need not be Amazon's.
fn check_arn(arn: &str, target: &str, service: &str) -> Result<()> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    match parts[..] {
        ["arn", partition, of, _, _, resource] if !partition.is_empty() && of == service && !resource.is_empty() => {
            Ok(())
        }
        _ => Err(Error::argument(target, arn, "The ARN is not well formed")),
    }
}
