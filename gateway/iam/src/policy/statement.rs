//! One statement of a policy: what it says, and whether it speaks of a request.

use super::action::{ActionPattern, Target};
use super::arn::ArnPattern;
use super::caller::Caller;
use super::condition::{self, Condition};
use super::error::{Fault, Kind};
use super::json::Json;
use super::keys::{Key, Keys};
use super::pattern::{Language, Match};
use super::principal::{self, Grant, NamedPrincipal};
use super::resource::{self, Reach};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Allow,
    Deny,
}

/// An element, or the `Not` that takes everything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scope<T> {
    Only(Box<[T]>),
    AllBut(Box<[T]>),
}

impl<T> Scope<T> {
    fn map<U>(self, f: impl FnMut(T) -> U) -> Scope<U> {
        match self {
            Scope::Only(all) => Scope::Only(all.into_iter().map(f).collect()),
            Scope::AllBut(all) => Scope::AllBut(all.into_iter().map(f).collect()),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) sid: Option<Box<str>>,
    pub(super) effect: Effect,
    /// `None` in policies of identities.
    pub(super) principals: Option<Scope<NamedPrincipal>>,
    pub(super) actions: Scope<ActionPattern>,
    pub(super) resources: Scope<ArnPattern>,
    /// All of them must hold.
    pub(super) conditions: Box<[Condition]>,
}

/// What the statements of a request are asked.
pub(super) struct Question<'a> {
    pub(super) caller: &'a Caller<'a>,
    pub(super) action: &'a str,
    pub(super) resource: &'a str,
    pub(super) keys: &'a dyn Keys,
}

impl Statement {
    /// `bucket` is whose policy it is of.
    pub(super) fn parse(json: &Json, bucket: Option<&str>, language: Language) -> Result<Statement, Fault> {
        let Json::Object(members) = json else { return Err(Fault::Syntax) };
        let kind = if bucket.is_some() { Kind::Bucket } else { Kind::Identity };
        let elements = Elements::of(members)?;
        let effect = match elements.effect {
            None => return Err(Fault::Missing("Effect")),
            Some(Json::Text(text)) if text == "Allow" => Effect::Allow,
            Some(Json::Text(text)) if text == "Deny" => Effect::Deny,
            Some(Json::Text(text)) => return Err(Fault::Effect(text.clone())),
            Some(_) => return Err(Fault::Syntax),
        };
        let sid = match elements.sid {
            None => None,
            Some(Json::Text(text)) => (!text.is_empty()).then(|| text.as_str().into()),
            Some(_) => return Err(Fault::Syntax),
        };
        let principals = principals(&elements, kind, effect)?;
        let actions = one_of(("Action", elements.action), ("NotAction", elements.not_action))?
            .ok_or(Fault::Missing("Action"))?
            .read(|text| ActionPattern::parse(text, kind))?;
        let resources = one_of(("Resource", elements.resource), ("NotResource", elements.not_resource))?
            .ok_or(Fault::Missing("Resource"))?
            .read(|text| resource::parse(text, bucket, language))?;
        if let (Some(_), Scope::Only(actions), Scope::Only(resources)) = (bucket, &actions, &resources) {
            check_targets(actions, resources)?;
        }
        let resources = resources.map(|(pattern, _)| pattern);
        let conditions = match elements.condition {
            Some(json) => condition::parse(json, kind, language)?,
            None => Box::default(),
        };
        Ok(Statement { sid, effect, principals, actions, resources, conditions })
    }

    /// How closely the statement names the caller, if it speaks of the request at all. Policies of identities name
    /// nobody: they are the caller's own.
    pub(super) fn grant(&self, question: &Question<'_>) -> Option<Grant> {
        let is_action = match &self.actions {
            Scope::Only(actions) => actions.iter().any(|action| action.matches(question.action)),
            Scope::AllBut(actions) => !actions.iter().any(|action| action.matches(question.action)),
        };
        if !is_action || !self.has_resource(question) {
            return None;
        }
        let grant = match &self.principals {
            None => Some(Grant::Session),
            Some(Scope::Only(principals)) => principal::grant(principals, question.caller),
            Some(Scope::AllBut(principals)) => {
                (!principal::spares(principals, question.caller)).then_some(Grant::Session)
            }
        };
        grant.filter(|_| self.conditions.iter().all(|condition| condition.holds(question.keys, self.effect)))
    }

    fn has_resource(&self, question: &Question<'_>) -> bool {
        let any = |patterns: &[ArnPattern]| {
            Match::any(patterns.iter().map(|pattern| pattern.matches(question.resource, question.keys)))
        };
        match &self.resources {
            Scope::Only(patterns) => match any(patterns) {
                Match::Yes => true,
                Match::No | Match::Unresolved => false,
            },
            Scope::AllBut(patterns) => match any(patterns) {
                Match::No => true,
                Match::Yes => false,
                // What is excepted is not known: then a statement denies rather than allows.
                Match::Unresolved => self.effect == Effect::Deny,
            },
        }
    }

    /// The condition keys that it asks for.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        let (Scope::Only(resources) | Scope::AllBut(resources)) = &self.resources;
        let of_resources = resources.iter().flat_map(ArnPattern::keys);
        of_resources.chain(self.conditions.iter().flat_map(Condition::keys))
    }
}

/// The members of a statement, by their names.
#[derive(Default)]
struct Elements<'a> {
    sid: Option<&'a Json>,
    effect: Option<&'a Json>,
    principal: Option<&'a Json>,
    not_principal: Option<&'a Json>,
    action: Option<&'a Json>,
    not_action: Option<&'a Json>,
    resource: Option<&'a Json>,
    not_resource: Option<&'a Json>,
    condition: Option<&'a Json>,
}

impl<'a> Elements<'a> {
    fn of(members: &'a [(String, Json)]) -> Result<Elements<'a>, Fault> {
        let mut elements = Elements::default();
        for (name, value) in members {
            let element = match name.as_str() {
                "Sid" => &mut elements.sid,
                "Effect" => &mut elements.effect,
                "Principal" => &mut elements.principal,
                "NotPrincipal" => &mut elements.not_principal,
                "Action" => &mut elements.action,
                "NotAction" => &mut elements.not_action,
                "Resource" => &mut elements.resource,
                "NotResource" => &mut elements.not_resource,
                "Condition" => &mut elements.condition,
                _ => return Err(Fault::Unknown(name.clone())),
            };
            // No name stands twice: the reader of JSON has seen to it.
            *element = Some(value);
        }
        Ok(elements)
    }
}

/// An element that is there, not yet read.
struct Element<'a> {
    name: &'static str,
    json: &'a Json,
    is_negated: bool,
}

impl Element<'_> {
    /// Reads a text or an array of texts.
    fn read<T>(&self, read: impl Fn(&str) -> Result<T, Fault>) -> Result<Scope<T>, Fault> {
        let values = match self.json {
            Json::Array(values) if values.is_empty() => return Err(Fault::Empty(self.name)),
            Json::Array(values) => values,
            value => std::slice::from_ref(value),
        };
        let read = |value: &Json| match value {
            Json::Text(text) => read(text),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => Err(Fault::Syntax),
        };
        let all = values.iter().map(read).collect::<Result<Box<[T]>, Fault>>()?;
        Ok(if self.is_negated { Scope::AllBut(all) } else { Scope::Only(all) })
    }
}

type Named<'a> = (&'static str, Option<&'a Json>);

fn one_of<'a>((name, json): Named<'a>, (not, negated): Named<'a>) -> Result<Option<Element<'a>>, Fault> {
    match (json, negated) {
        (Some(_), Some(_)) => Err(Fault::Both(name, not)),
        (Some(json), None) => Ok(Some(Element { name, json, is_negated: false })),
        (None, Some(json)) => Ok(Some(Element { name: not, json, is_negated: true })),
        (None, None) => Ok(None),
    }
}

fn principals(elements: &Elements<'_>, kind: Kind, effect: Effect) -> Result<Option<Scope<NamedPrincipal>>, Fault> {
    let element = one_of(("Principal", elements.principal), ("NotPrincipal", elements.not_principal))?;
    match (kind, element) {
        (Kind::Identity, None) => Ok(None),
        (Kind::Identity, Some(_)) => Err(Fault::SpecifiesPrincipal),
        (Kind::Bucket, None) => Err(Fault::Missing("Principal")),
        (Kind::Bucket, Some(element)) if element.is_negated && effect == Effect::Allow => Err(Fault::AllowNotPrincipal),
        (Kind::Bucket, Some(element)) => {
            let principals = principal::parse(element.json, element.name)?;
            Ok(Some(if element.is_negated { Scope::AllBut(principals) } else { Scope::Only(principals) }))
        }
    }
}

/// Each action must be about something that a resource of the statement can be.
fn check_targets(actions: &[ActionPattern], resources: &[(ArnPattern, Reach)]) -> Result<(), Fault> {
    let is_reached = |target| resources.iter().any(|(_, reach)| reach.has(target));
    let reached = [Target::Bucket, Target::Object, Target::Account].map(|target| (target, is_reached(target)));
    let applies = |action: &ActionPattern| action.targets().any(|target| reached.contains(&(target, true)));
    if actions.iter().all(applies) { Ok(()) } else { Err(Fault::NotApplicable) }
}
