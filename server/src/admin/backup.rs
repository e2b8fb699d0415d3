//! `hafiz backup`: has the server copy its metadata into a directory of its machine, and takes that to a bucket if asked to.

use std::fs;
use std::path::{Path, PathBuf};

use super::client::Client;
use super::json::Json;
use super::{LOOK_EVERY, progress, show};
use crate::credentials::Keys;
use crate::offsite::{self, Place};
use crate::remote::{Remote, Server};
use crate::settings::Settings;

/// Where a backup goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Of the server's machine.
    Dir(PathBuf),
    Bucket {
        place: Place,
        server: Server,
        credentials_file: Option<PathBuf>,
        /// Holds the copy on the way.
        stage: PathBuf,
    },
}

/// The server's reply about the backup that was made, and what to tell of it.
pub(super) fn run(client: &Client, target: &Target, settings: &Settings) -> Result<(Json, String), String> {
    match target {
        Target::Dir(dir) => copy(client, dir).map(|reply| {
            let text = show::backup(&reply, reply.text("dir"));
            (reply, text)
        }),
        Target::Bucket { place, server, credentials_file, stage } => {
            let keys = Keys::of_other(credentials_file.as_deref(), settings)?;
            let mut remote = Remote::new(server, &place.bucket, keys)?;
            // Before a server does anything: most of what can be wrong shows here.
            offsite::refuse_used(&mut remote, place)?;
            let dir = offsite::new_stage(stage)?;
            let taken = copy(client, &dir).and_then(|reply| carry(&mut remote, place, &dir).map(|()| reply));
            offsite::remove_stage(&dir);
            let reply = taken?.with_text("dir", &place.text());
            let text = show::backup(&reply, &place.text());
            Ok((reply, text))
        }
    }
}

fn copy(client: &Client, dir: &Path) -> Result<Json, String> {
    client.post("backup", &[("dir", &dir.to_string_lossy())])?;
    loop {
        let reply = client.get("backup")?;
        match reply.text("state") {
            "running" => progress(&show::backup_line(&reply)),
            "done" => return Ok(reply),
            _ => return Err(format!("no backup was made: {}", reply.text("error"))),
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn carry(remote: &mut Remote, place: &Place, dir: &Path) -> Result<(), String> {
    if let Err(error) = fs::read_dir(dir) {
        return Err(format!(
            "{}: {error}; the server wrote its copy there: run this on the server's machine, as its user or root, and name a \
             directory that both see with --stage",
            dir.display()
        ));
    }
    offsite::upload(remote, place, dir, &mut |done, of| progress(&format!("{done} of {of} files uploaded")))
}
