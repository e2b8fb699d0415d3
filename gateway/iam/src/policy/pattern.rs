//! Texts with wildcards and variables: read once, matched in bounded time.
//!
//! Matching takes at most the length of the text times the length of the pattern: what a `*` has taken is only ever
//! given back to the last one.

use std::borrow::Cow;

use super::keys::{Key, Keys};

/// The version of the policy language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    /// 2008-10-17: `${` is nothing but text.
    WithoutVariables,
    /// 2012-10-17.
    WithVariables,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    Sensitive,
    /// As far as ASCII goes.
    Insensitive,
}

/// Whether a text matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Match {
    Yes,
    No,
    /// The pattern has a variable for which the request has no value: it is matched by nothing.
    Unresolved,
}

impl Match {
    /// Whether one of several matched. Where none did, a variable without a value is told rather than a `No`.
    pub(super) fn any(matches: impl IntoIterator<Item = Match>) -> Match {
        let mut all = Match::No;
        for found in matches {
            match found {
                Match::Yes => return Match::Yes,
                Match::No => {}
                Match::Unresolved => all = Match::Unresolved,
            }
        }
        all
    }
}

impl From<bool> for Match {
    fn from(is_match: bool) -> Match {
        if is_match { Match::Yes } else { Match::No }
    }
}

/// A `${` that nothing closes, or a variable without a name or with a default out of quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InvalidVariable;

/// A text of a policy, to which texts of requests are held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    parts: Box<[Part]>,
    has_variables: bool,
    /// The length of the shortest text that can match.
    bytes_min: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    /// `?`: one character.
    One,
    /// `*`: any characters, or none.
    Any,
    /// Wildcards in its value are text.
    Variable(Variable),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Variable {
    key: Key,
    default: Option<Box<str>>,
}

impl Variable {
    fn value<'a>(&'a self, keys: &'a dyn Keys) -> Option<Cow<'a, str>> {
        let value = keys.values(&self.key).into_variable();
        value.or_else(|| self.default.as_deref().map(Cow::Borrowed))
    }
}

impl Pattern {
    /// A text in which `*` and `?` are wildcards.
    pub(super) fn wild(text: &str, language: Language) -> Result<Pattern, InvalidVariable> {
        parse(text, &['*', '?', '$'], language)
    }

    /// A text in which they are not.
    pub(super) fn exact(text: &str, language: Language) -> Result<Pattern, InvalidVariable> {
        parse(text, &['$'], language)
    }

    /// Matches every text.
    pub(super) fn any() -> Pattern {
        Pattern::of(vec![Part::Any])
    }

    fn of(parts: Vec<Part>) -> Pattern {
        let bytes_min = parts.iter().map(|part| match part {
            Part::Text(text) => text.len(),
            Part::One => 1,
            Part::Any | Part::Variable(_) => 0,
        });
        let has_variables = parts.iter().any(|part| matches!(part, Part::Variable(_)));
        Pattern { bytes_min: bytes_min.sum(), has_variables, parts: parts.into() }
    }

    pub(super) fn matches(&self, text: &str, case: Case, keys: &dyn Keys) -> Match {
        if !self.has_variables {
            return (text.len() >= self.bytes_min && glob::<&str>(&self.parts, &[], text, case)).into();
        }
        let values = self.parts.iter().map(|part| match part {
            Part::Variable(variable) => variable.value(keys),
            Part::Text(_) | Part::One | Part::Any => Some(Cow::Borrowed("")),
        });
        match values.collect::<Option<Vec<_>>>() {
            Some(values) => (text.len() >= self.bytes_min && glob(&self.parts, &values, text, case)).into(),
            None => Match::Unresolved,
        }
    }

    /// The only text that matches, where it is one and known.
    pub(super) fn fixed(&self) -> Option<&str> {
        match &*self.parts {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Whether every text matches.
    pub(super) fn is_any(&self) -> bool {
        *self.parts == [Part::Any]
    }

    /// Whether there is a `*` or a variable: the length of what matches is open.
    pub(super) fn is_open(&self) -> bool {
        self.parts.iter().any(|part| match part {
            Part::Any | Part::Variable(_) => true,
            Part::Text(_) | Part::One => false,
        })
    }

    pub(super) fn has_variables(&self) -> bool {
        self.has_variables
    }

    /// The keys that its variables name.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.parts.iter().filter_map(|part| match part {
            Part::Variable(variable) => Some(&variable.key),
            Part::Text(_) | Part::One | Part::Any => None,
        })
    }

    /// Cuts at the first `at` that is text; the pattern itself where there is none.
    pub(super) fn split_once(self, at: char) -> Result<(Pattern, Pattern), Pattern> {
        let text = |text: &str| (!text.is_empty()).then(|| Part::Text(text.into()));
        let found = self.parts.iter().enumerate().find_map(|(index, part)| match part {
            Part::Text(whole) => whole.split_once(at).map(|(left, right)| (index, text(left), text(right))),
            Part::One | Part::Any | Part::Variable(_) => None,
        });
        let Some((index, left, right)) = found else { return Err(self) };
        let mut before = self.parts.into_vec();
        let behind = before.split_off(index + 1);
        // The text that is cut.
        before.truncate(index);
        before.extend(left);
        Ok((Pattern::of(before), Pattern::of(right.into_iter().chain(behind).collect())))
    }
}

fn parse(text: &str, special: &[char], language: Language) -> Result<Pattern, InvalidVariable> {
    let (mut parts, mut literal, mut rest) = (Vec::new(), String::new(), text);
    while let Some(at) = rest.find(special) {
        let (before, from) = rest.split_at(at);
        literal.push_str(before);
        let (piece, len) = piece(from, language)?;
        rest = &from[len..];
        match piece {
            Piece::Text(text) => literal.push_str(text),
            // Two in a row are one.
            Piece::Part(Part::Any) if literal.is_empty() && parts.last() == Some(&Part::Any) => {}
            Piece::Part(part) => {
                let text = std::mem::take(&mut literal);
                parts.extend((!text.is_empty()).then(|| Part::Text(text.into())));
                parts.push(part);
            }
        }
    }
    literal.push_str(rest);
    parts.extend((!literal.is_empty()).then(|| Part::Text(literal.into())));
    Ok(Pattern::of(parts))
}

enum Piece<'a> {
    Text(&'a str),
    Part(Part),
}

/// Reads what begins with a special character, and tells how long it is.
fn piece(text: &str, language: Language) -> Result<(Piece<'_>, usize), InvalidVariable> {
    match (text.as_bytes()[0], text.strip_prefix("${"), language) {
        (b'*', ..) => Ok((Piece::Part(Part::Any), 1)),
        (b'?', ..) => Ok((Piece::Part(Part::One), 1)),
        (_, Some(inner), Language::WithVariables) => reference(inner).map(|(piece, len)| (piece, 2 + len)),
        (_, Some(_), Language::WithoutVariables) | (_, None, _) => Ok((Piece::Text(&text[..1]), 1)),
    }
}

/// Reads what stands behind `${`, and tells how long it is with its `}`. Characters that would mean something else
/// are written like variables.
fn reference(inner: &str) -> Result<(Piece<'_>, usize), InvalidVariable> {
    let variable = |name, default: Option<&str>| {
        Piece::Part(Part::Variable(Variable { key: Key::new(name), default: default.map(Into::into) }))
    };
    let end = inner.find(['}', ',']).ok_or(InvalidVariable)?;
    let name = inner[..end].trim();
    if inner[end..].starts_with('}') {
        return match name {
            "*" | "?" | "$" => Ok((Piece::Text(name), end + 1)),
            "" => Err(InvalidVariable),
            name => Ok((variable(name, None), end + 1)),
        };
    }
    let (gap, default) = inner[end + 1..].split_once('\'').ok_or(InvalidVariable)?;
    let (default, behind) = default.split_once('\'').ok_or(InvalidVariable)?;
    let closing = behind.find('}').ok_or(InvalidVariable)?;
    if name.is_empty() || !gap.trim().is_empty() || !behind[..closing].trim().is_empty() {
        return Err(InvalidVariable);
    }
    // The name, the comma, the gap, the quotes with the default, and what closes it.
    let len = end + 1 + gap.len() + 1 + default.len() + 1 + closing + 1;
    Ok((variable(name, Some(default)), len))
}

/// `values` are those of the variables, each at the place of its part.
fn glob<V: AsRef<str>>(parts: &[Part], values: &[V], text: &str, case: Case) -> bool {
    let (mut next, mut at) = (0, 0);
    // The part behind the last `*`, and the byte from which it was tried last.
    let mut star: Option<(usize, usize)> = None;
    loop {
        let taken = match parts.get(next) {
            None if at == text.len() => return true,
            None => None,
            Some(Part::Any) if next + 1 == parts.len() => return true,
            Some(Part::Any) => {
                star = Some((next + 1, at));
                Some(0)
            }
            Some(Part::One) => width(text, at),
            Some(Part::Text(literal)) => literal_at(text, at, literal, case),
            Some(Part::Variable(_)) => literal_at(text, at, values[next].as_ref(), case),
        };
        if let Some(len) = taken {
            (next, at) = (next + 1, at + len);
            continue;
        }
        // Nothing but the last `*` can take more: whatever the ones before took, this one could have taken instead.
        let Some((behind, from)) = star else { return false };
        let Some(len) = width(text, from) else { return false };
        star = Some((behind, from + len));
        (next, at) = (behind, from + len);
    }
}

/// The bytes of the character at `at`; `None` at the end.
fn width(text: &str, at: usize) -> Option<usize> {
    text[at..].chars().next().map(char::len_utf8)
}

/// The bytes that `literal` takes at `at`. They end where a character ends: both texts are UTF-8.
fn literal_at(text: &str, at: usize, literal: &str, case: Case) -> Option<usize> {
    let found = text.as_bytes().get(at..at + literal.len())?;
    let is_match = match case {
        Case::Sensitive => found == literal.as_bytes(),
        Case::Insensitive => found.eq_ignore_ascii_case(literal.as_bytes()),
    };
    is_match.then_some(literal.len())
}

#[cfg(test)]
mod tests;
