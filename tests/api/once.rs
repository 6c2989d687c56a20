//! Tests that do not depend on the kind of database, and tests of the SQLite file itself. The run
//! on PostgreSQL leaves this module out.

mod arguments;
mod backup;
mod browser;
mod clock_ahead;
mod complete;
mod complete_mail;
mod damaged;
mod disk;
mod docs;
mod doctor;
mod faults;
mod file_limit;
mod files;
mod folders;
mod hash;
mod interop;
mod logs;
mod mail;
mod memory;
mod metrics;
mod mutations;
mod old_proxies;
mod plain_secrets;
mod raw_headers;
mod read_only;
mod readme;
mod restart;
mod sites;
mod slow;
mod start;
mod stop;
mod stop_lines;
mod storm;
mod tls;
mod trace;
