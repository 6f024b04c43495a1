//! Simulation: the tunnel's own threads over a clock and a network that a seed drives.
//!
//! What runs is the program's own code: poller, couriers, workers, queue, deadlines, readiness, policy and drain, on
//! threads of their own. What stands in their place are the sides of these: a control plane (`plane`, behind the trait
//! `Transport`), servers (`server`, behind `Target`) and the audit record (`records`). `scheduler` runs the threads one
//! at a time and lets time leap to the next end of a wait, so that an hour costs milliseconds and a run is the same for
//! its seed. It is put in the place of `std`'s locks, waits, threads and clock in `sync`, in unit tests alone.
//!
//! Outside stay the parts whose waits are those of the system, poll(2) and pipes: `net`, the listener, children and
//! their guards, signals, and the writer of the audit log. `tests/suite` has them.
//!
//! From the seed come the plan of a run (how many channels, workers, places; how many commands, how dense), the weather
//! of plane and servers, the order of threads, and every random wait. `monitor` looks at the tunnel while it runs, and
//! `checks` at its history when it has ended:
//!
//! * each accepted command ends once, is answered once, with its own answer, or is counted as lost or expired;
//! * calls of a channel start in their order, notifications arrive in theirs and before their answer, none twice;
//! * an answer is posted with the same bytes, as often and as early as `fate` and `retry` promise, and never too late;
//! * an answer is posted as soon as a courier is free and its wait is over;
//! * no channel waits for another one's server, or takes more than its share from one that waits;
//! * no loop is overdue, a drain keeps its time, every thread ends;
//! * a limit lets no more pass than it says in any time, nor fewer, also when a reload exchanges it for another one;
//! * commands and bytes in flight are bounded, and `/readyz` says what is true.
//!
//! `TUNNEL_CLIENT_SEEDS=FROM..TO` chooses the seeds; a run that fails prints its own, and the history of one seed is
//! printed when it alone is asked for.

mod ask;
mod checks;
mod history;
mod limits;
mod lives;
pub(crate) mod locks;
mod monitor;
mod plane;
pub(crate) mod random;
mod records;
pub(crate) mod scheduler;
mod scheduler_tests;
mod seeds;
mod seen;
mod server;
mod shares;
mod soon;
mod tests;
mod tunnel;
mod weather;
