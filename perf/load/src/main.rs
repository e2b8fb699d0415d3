//! `hafiz-load`: keeps a number of connections to an S3 endpoint busy with one kind of request, and says as one line of
//! JSON how many went through, how long they took, and what the server's process used meanwhile.
//!
//! One thread over sockets that do not block: with the server on one core and this on another, the client never takes
//! the server's time. A closed loop: it measures cost, not behaviour under a given rate.
#![forbid(unsafe_code)]

mod arguments;
mod connection;
mod load;
mod process;
mod report;
mod request;
mod scenario;

use std::process::ExitCode;

use arguments::Arguments;

const USAGE: &str = "hafiz-load SCENARIO --endpoint HOST:PORT --bucket NAME [flags]

Scenarios: make-bucket, fill, put, get, head, list, delete, upload, download.
Credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.

  --connections N   kept busy [64]
  --seconds S       measured, after the warm-up [5]
  --warmup S        not counted [1]
  --count N         this many requests instead of a time
  --size BYTES      of a body [4096]
  --part BYTES      of an upload's parts [67108864]
  --keys N          keys that are read, listed or filled [1024]
  --prefix TEXT     of the keys [key/]
  --page N          keys of a page, or of one delete request [1000]
  --payload HOW     signed (SHA-256 in the signature) or unsigned [signed]
  --signing HOW     header or presigned (bodiless requests only) [header]
  --pid PID         of the server: adds its CPU time and memory
  --device NAME     as in /proc/diskstats: adds its writes and flushes";

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1), |name| std::env::var(name).ok()) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("hafiz-load: {error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match scenario::run(&arguments) {
        Ok(report) => {
            let failed = report.failed;
            println!("{}", report.json());
            if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("hafiz-load: {error}");
            ExitCode::FAILURE
        }
    }
}
