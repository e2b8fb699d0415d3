//! What is wrong with a policy, in the words of the service that refuses it.

use std::fmt;

/// A document that is no policy. Shown as S3 says it of bucket policies (`MalformedPolicy`), and as IAM says it of
/// the others (`MalformedPolicyDocument`; `LimitExceeded` for what is too long).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidPolicy {
    pub kind: Kind,
    pub fault: Fault,
}

/// Where a policy is attached, which decides what it has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// To a bucket: it names principals, and resources of its bucket only.
    Bucket,
    /// To a user, a group, a role or a session, or it is a boundary of one: it names no principals.
    Identity,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// More than so many bytes or characters, white space not counted.
    TooLong(usize),
    /// It is not an object of JSON at all.
    NotJson,
    /// Broken JSON, a name twice in one object, or nested too deeply.
    InvalidJson,
    /// An element has another type than it must have.
    Syntax,
    Version,
    Missing(&'static str),
    Unknown(String),
    /// An element without a value.
    Empty(&'static str),
    /// Two elements that exclude each other.
    Both(&'static str, &'static str),
    TooManyStatements,
    DuplicateSid,
    Effect(String),
    Principal,
    AllowNotPrincipal,
    /// An identity policy that says whom it is for.
    SpecifiesPrincipal,
    Action(String),
    Resource(String),
    /// No resource of the statement is of the kind that the action is about.
    NotApplicable,
    ConditionOperator(String),
    ConditionKey(String),
    /// The operator, and the value that it cannot compare with.
    ConditionValue(String, String),
    Address,
    Variable(String),
}

impl fmt::Display for InvalidPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Bucket => self.fault.of_bucket(f),
            Kind::Identity => self.fault.of_identity(f),
        }
    }
}

impl std::error::Error for InvalidPolicy {}

impl Fault {
    fn of_bucket(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::TooLong(limit) => {
                write!(f, "Normalized policy document exceeds the maximum allowed size of {limit} bytes")
            }
            Fault::NotJson => f.write_str("Policies must be valid JSON and the first byte must be '{'"),
            Fault::InvalidJson => f.write_str("This policy contains invalid Json"),
            Fault::Syntax => f.write_str("Invalid policy syntax."),
            Fault::Version => f.write_str("The policy must contain a valid version string"),
            Fault::Missing(name) => write!(f, "Missing required field {name}"),
            Fault::Unknown(name) => write!(f, "Unknown field {name}"),
            Fault::Empty("Statement") => f.write_str("Could not parse the policy: Statement is empty!"),
            Fault::Empty(name) => write!(f, "Missing required field {name} cannot be empty!"),
            Fault::Both(one, other) => write!(f, "Statement cannot contain both {one} and {other}"),
            Fault::TooManyStatements => f.write_str("Policy has too many statements"),
            Fault::DuplicateSid => f.write_str("Statement IDs (SID) in a single policy must be unique."),
            Fault::Effect(effect) => write!(f, "Invalid effect: {effect}"),
            Fault::Principal | Fault::SpecifiesPrincipal => f.write_str("Invalid principal in policy"),
            Fault::AllowNotPrincipal => f.write_str("Allow with NotPrincipal is not allowed."),
            Fault::Action(_) => f.write_str("Policy has invalid action"),
            Fault::Resource(_) => f.write_str("Policy has invalid resource"),
            Fault::NotApplicable => f.write_str("Action does not apply to any resource(s) in statement"),
            Fault::ConditionOperator(name) => write!(f, "Invalid Condition type : {name}"),
            Fault::ConditionKey(_) => f.write_str("Policy has an invalid condition key"),
            Fault::ConditionValue(operator, _) => write!(f, "Invalid value in Conditions for operator {operator}"),
            Fault::Address => f.write_str("Invalid IP address in Conditions"),
            Fault::Variable(text) => write!(f, "Policy has an invalid variable: {text}"),
        }
    }

    fn of_identity(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::TooLong(limit) => write!(f, "Cannot exceed quota for PolicySize: {limit}"),
            Fault::Missing("Action") | Fault::Empty("Action" | "NotAction") => {
                f.write_str("Policy statement must contain actions.")
            }
            Fault::Missing("Resource") | Fault::Empty("Resource" | "NotResource") => {
                f.write_str("Policy statement must contain resources.")
            }
            Fault::DuplicateSid => f.write_str("Statement IDs (SID) in a single policy must be unique."),
            Fault::SpecifiesPrincipal => f.write_str("Policy document should not specify a principal."),
            Fault::Action(action) => match action.split_once(':') {
                None => f.write_str("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."),
                Some((_, name)) if name.contains(':') => f.write_str("Actions/Condition can contain only one colon."),
                Some((vendor, _)) => write!(f, "Vendor {vendor} is not valid"),
            },
            Fault::Resource(resource) => write!(f, "Resource {resource} must be in ARN format or \"*\"."),
            // IAM does not tell these apart.
            Fault::NotJson
            | Fault::InvalidJson
            | Fault::Syntax
            | Fault::Version
            | Fault::Missing(_)
            | Fault::Unknown(_)
            | Fault::Empty(_)
            | Fault::Both(..)
            | Fault::TooManyStatements
            | Fault::Effect(_)
            | Fault::Principal
            | Fault::AllowNotPrincipal
            | Fault::NotApplicable
            | Fault::ConditionOperator(_)
            | Fault::ConditionKey(_)
            | Fault::ConditionValue(..)
            | Fault::Address
            | Fault::Variable(_) => f.write_str("Syntax errors in policy."),
        }
    }
}
