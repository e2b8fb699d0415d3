//! The admin endpoint, beside S3 on the same port: signed as requests to S3 are, answered in JSON.
//!
//! Paths begin with `/-/admin/v1/`: `-` is no bucket's name, so none is taken away.

use std::path::PathBuf;

use ops::admin::{AdminReply, AdminRequest};
use s3::address::Address;
use s3::reply::{Headers, Reply, ReplyBody};

/// What stands where a bucket would, and what its keys begin with.
const BUCKET: &str = "-";
const PREFIX: &str = "admin/v1/";

/// The path behind the prefix, if the request is for the server itself.
pub(crate) fn path(address: &Address) -> Option<&str> {
    let is_ours = address.bucket.as_deref() == Some(BUCKET);
    address.key.as_deref().filter(|_| is_ours)?.strip_prefix(PREFIX)
}

/// What is asked for; or the refusal.
pub(crate) fn parse(method: &str, path: &str, address: &Address) -> Result<AdminRequest, AdminReply> {
    let parameter = |name: &str| {
        let given = address.query.get_filled(name).map(str::to_owned);
        given.ok_or_else(|| AdminReply::refused(400, &format!("the parameter {name} is missing")))
    };
    let dir = || parameter("dir").map(PathBuf::from);
    let words: Vec<&str> = path.split('/').collect();
    let (wanted, request) = match words.as_slice() {
        ["drives"] => ("GET", AdminRequest::ListDrives),
        ["drives", "add"] => ("POST", AdminRequest::AddDrive { dir: dir()? }),
        ["drives", "replace"] => ("POST", AdminRequest::ReplaceDrive { old: parameter("old")?, dir: dir()? }),
        ["drives", drive, "out"] => ("POST", AdminRequest::TakeOutDrive { drive: (*drive).to_owned() }),
        ["drives", drive, "drain"] => ("POST", AdminRequest::DrainDrive { drive: (*drive).to_owned() }),
        ["drives", drive, "undrain"] => ("POST", AdminRequest::UndrainDrive { drive: (*drive).to_owned() }),
        ["drives", "rebalance"] => ("POST", AdminRequest::Rebalance { pace_mib: pace(address)? }),
        ["drives", "rebalance", "stop"] => ("POST", AdminRequest::EndRebalance),
        ["heal"] => ("GET", AdminRequest::HealStatus),
        ["verify"] if method == "POST" => ("POST", AdminRequest::Verify),
        ["verify"] => ("GET", AdminRequest::VerifyStatus),
        ["backup"] if method == "POST" => ("POST", AdminRequest::Backup { dir: dir()? }),
        ["backup"] => ("GET", AdminRequest::BackupStatus),
        _ => return Err(AdminReply::refused(404, "there is no such admin operation")),
    };
    if method != wanted {
        return Err(AdminReply::refused(405, &format!("this is asked for with {wanted}")));
    }
    Ok(request)
}

/// MiB in a second; without one as fast as it goes.
fn pace(address: &Address) -> Result<u32, AdminReply> {
    match address.query.get_filled("pace") {
        None => Ok(0),
        Some(pace) => {
            let bad = || AdminReply::refused(400, "the pace is a number of MiB in a second");
            pace.parse().ok().filter(|&pace| pace > 0).ok_or_else(bad)
        }
    }
}

/// As HTTP.
pub(crate) fn render(reply: AdminReply) -> Reply {
    let mut headers = Headers::new();
    headers.push("Content-Type", b"application/json");
    // What is said of drives is of this moment.
    headers.push("Cache-Control", b"no-store");
    Reply { status: reply.status, headers, body: ReplyBody::Bytes(reply.json.into_bytes()) }
}

#[cfg(test)]
mod tests {
    use s3::head::Head;

    use super::*;

    fn ask(method: &str, host: &str, target: &str) -> Option<Result<AdminRequest, u16>> {
        let headers = [("Host", host.as_bytes())];
        let address = Address::split(&Head { method, target, headers: &headers }, &["s3.test"]).ok()?;
        Some(parse(method, path(&address)?, &address).map_err(|reply| reply.status))
    }

    #[test]
    fn each_operation_has_its_path_and_method() {
        let check = |method: &str, target: &str, expect: Result<AdminRequest, u16>| {
            assert_eq!(ask(method, "h", target), Some(expect), "{method} {target}");
        };
        let drive = || "ab".to_owned();
        check("GET", "/-/admin/v1/drives", Ok(AdminRequest::ListDrives));
        check(
            "POST",
            "/-/admin/v1/drives/add?dir=%2Fmnt%2Fd%207",
            Ok(AdminRequest::AddDrive { dir: "/mnt/d 7".into() }),
        );
        check("POST", "/-/admin/v1/drives/add", Err(400));
        check("GET", "/-/admin/v1/drives/add?dir=/d", Err(405));
        check("POST", "/-/admin/v1/drives/ab/out", Ok(AdminRequest::TakeOutDrive { drive: drive() }));
        check("POST", "/-/admin/v1/drives/ab/drain", Ok(AdminRequest::DrainDrive { drive: drive() }));
        let replace = AdminRequest::ReplaceDrive { old: drive(), dir: "/d".into() };
        check("POST", "/-/admin/v1/drives/replace?old=ab&dir=/d", Ok(replace));
        check("POST", "/-/admin/v1/drives/rebalance", Ok(AdminRequest::Rebalance { pace_mib: 0 }));
        check("POST", "/-/admin/v1/drives/rebalance?pace=50", Ok(AdminRequest::Rebalance { pace_mib: 50 }));
        check("POST", "/-/admin/v1/drives/rebalance?pace=0", Err(400));
        check("POST", "/-/admin/v1/drives/rebalance?pace=fast", Err(400));
        check("POST", "/-/admin/v1/drives/rebalance/stop", Ok(AdminRequest::EndRebalance));
        check("GET", "/-/admin/v1/heal", Ok(AdminRequest::HealStatus));
        check("POST", "/-/admin/v1/verify", Ok(AdminRequest::Verify));
        check("GET", "/-/admin/v1/verify", Ok(AdminRequest::VerifyStatus));
        check("POST", "/-/admin/v1/backup?dir=%2Fb", Ok(AdminRequest::Backup { dir: "/b".into() }));
        check("POST", "/-/admin/v1/backup", Err(400));
        check("GET", "/-/admin/v1/backup", Ok(AdminRequest::BackupStatus));
        check("GET", "/-/admin/v1/", Err(404));
        check("DELETE", "/-/admin/v1/drives", Err(405));
    }

    #[test]
    fn keys_and_buckets_of_that_look_stay_s3s() {
        for (host, target) in [("b.s3.test", "/-/admin/v1/drives"), ("h", "/bucket/admin/v1/drives"), ("h", "/-/other")]
        {
            assert_eq!(ask("GET", host, target), None, "{host} {target}");
        }
    }
}
