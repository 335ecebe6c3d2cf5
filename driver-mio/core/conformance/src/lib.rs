//! What every driver must do, as tests that are the same for each: over real sockets on loopback, and in a simulated world.
//!
//! ```ignore
//! andon_driver_conformance::conformance!(andon_mio::Driver); // in a test program: one `#[test]` for each case
//! ```
//!
//! Each test's machine is wrapped in `Checked`, which holds the driver to the contract; the other side is a plain blocking
//! socket in the test. What the two stand on is a [`Stage`](stage::Stage): [`System`] for real drivers. Cases that no simulated driver can be
//! put to are listed, each with its reason, in [`real`]. Time limits only keep a failure from hanging.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]
#![allow(missing_docs, reason = "the name of a case says what it is of")]

pub mod application;
pub mod awaiting;
pub mod closing;
pub mod connecting;
pub mod datagrams;
mod driver;
pub mod faults;
pub mod names;
mod puppet;
pub mod real;
pub mod receiving;
pub mod sending;
pub mod stage;
mod system;
pub mod timers;

#[doc(hidden)]
pub use andon_driver::{CommandError, DriverError, Handle, Options, Received, Waker};
#[doc(hidden)]
pub use andon_kernel::{Machine, Store};
pub use driver::Driver;
pub use puppet::{Command, Event, Puppet};
pub use system::System;

/// One `#[test]` for each case: over a driver that has the methods of [`Driver`], or `of` a type that implements it, or only those that a
/// simulated driver can be put to, `on` a [`Stage`](stage::Stage) of its own.
#[macro_export]
macro_rules! conformance {
    (@cases $stage:ty, $module:ident: $($case:ident)*) => {
        mod $module {
            #[allow(unused_imports)]
            use super::*;

            $(
                #[test]
                fn $case() {
                    $crate::$module::$case(&<$stage>::default());
                }
            )*
        }
    };
    (@real $driver:ty, $module:ident: $($case:ident)*) => {
        $(
            #[test]
            fn $case() {
                $crate::$module::$case::<$driver>();
            }
        )*
    };
    (on $stage:ty) => {
        $crate::conformance! { @cases $stage, application:
            an_application_that_takes_nothing_stops_the_network_and_not_the_timers
            timers_that_tell_wait_when_they_have_filled_the_queue_once_more
            a_queue_for_one_event_is_enough
            commands_given_before_a_stop_are_taken_and_later_ones_given_back
            everything_stored_is_complete_at_the_end
            a_busy_driver_stops_and_tells_each_end
            joining_does_not_wait_for_events_that_nobody_takes
            a_stop_ends_with_events_that_nobody_has_taken_yet
            dropping_the_handle_stops_the_driver
            a_dial_for_each_of_many_is_answered_under_a_small_event_queue
        }
        $crate::conformance! { @cases $stage, closing:
            a_close_with_flush_sends_everything_first
            a_close_with_flush_serves_a_peer_that_has_closed_its_half
            a_close_without_flush_is_at_once
            a_peer_that_never_closes_is_not_waited_for_long
            a_flood_after_a_close_is_not_heard_and_ends
            a_stop_with_flush_delivers_what_was_sent
            each_of_many_short_connections_ends_once
        }
        $crate::conformance! { @cases $stage, connecting:
            bytes_go_both_ways_on_dials_and_accepts
            both_families_are_served
            byte_by_byte_is_the_same
            a_refused_dial_says_so
            a_dial_that_fails_at_once_is_told_once
            a_dial_that_is_not_answered_times_out
            a_dial_can_be_closed_before_it_is_answered
            two_thousand_are_accepted
            no_more_than_the_limit_are_open
            a_port_in_use_is_an_error_at_once
            listeners_are_told_in_order_and_all_accept
        }
        $crate::conformance! { @cases $stage, datagrams:
            datagrams_go_both_ways
            without_a_socket_they_are_dropped
        }
        $crate::conformance! { @cases $stage, faults:
            a_store_that_fails_ends_the_driver_with_its_error
            a_machine_that_panics_ends_the_driver_with_its_message
            while_the_store_lags_nothing_is_let_in_but_timers
            a_stop_waits_for_the_store
        }
        $crate::conformance! { @cases $stage, names:
            localhost_has_loopback_addresses
            what_is_no_host_name_has_no_address
            each_of_many_look_ups_is_answered
        }
        $crate::conformance! { @cases $stage, receiving:
            bytes_before_the_end_come_before_it
            an_end_right_behind_bytes_is_seen
            a_half_closed_connection_is_closed
            a_reset_says_so
            megabytes_come_through_small_buffers
            what_comes_while_paused_is_delivered_afterwards
            a_paused_flood_is_all_there_afterwards
            a_paused_connection_that_the_peer_closes_waits_without_spinning
            a_flood_on_one_connection_starves_no_other
        }
        $crate::conformance! { @cases $stage, sending:
            many_small_sends_of_one_turn_arrive_in_order
            sends_wait_for_a_reader_up_to_the_cap
            a_full_send_queue_ends_the_connection_once
            each_flush_is_answered_once
            a_flush_waits_for_what_was_sent_before_it
            fifty_megabytes_are_paced_through_a_small_queue
            a_write_to_a_peer_that_has_gone_ends_even_a_paused_connection
            a_reset_while_a_flush_waits_ends_even_a_paused_connection
        }
        $crate::conformance! { @cases $stage, timers:
            a_thousand_idle_peers_cost_nothing
            an_idle_driver_sleeps
            a_deadline_costs_few_rounds
            work_cut_in_pieces_goes_on_at_once
            a_flood_does_not_starve_timers
        }
    };
    (of $driver:ty) => {
        $crate::conformance!(on $crate::System<$driver>);

        mod awaiting {
            #[allow(unused_imports)]
            use super::*;

            $crate::conformance! { @real $driver, awaiting:
                an_event_can_be_awaited_by_any_executor
                a_future_that_is_dropped_loses_no_event
                threads_and_tasks_take_each_event_once
                a_stream_gives_everything_and_then_the_end
                the_end_can_be_awaited
                the_driver_stops_with_the_last_end
                joining_leaves_the_events_to_other_ends
                a_task_that_takes_events_makes_room_for_more
            }
        }
        mod real {
            #[allow(unused_imports)]
            use super::*;

            $crate::conformance! { @real $driver, real:
                the_handle_can_be_shared
                a_stopper_works_from_another_thread_while_one_waits
                a_store_that_fails_later_ends_the_driver_though_nobody_takes_events
            }

            #[cfg(unix)]
            #[test]
            fn running_out_of_files_does_not_spin() {
                let path = concat!(module_path!(), "::running_out_of_files_does_not_spin");
                $crate::real::running_out_of_files_does_not_spin::<$driver>(path);
            }

            #[cfg(target_os = "linux")]
            #[test]
            fn an_idle_process_sleeps() {
                let path = concat!(module_path!(), "::an_idle_process_sleeps");
                $crate::real::an_idle_process_sleeps::<$driver>(path);
            }

            #[cfg(target_os = "linux")]
            #[test]
            fn drivers_that_have_ended_keep_no_files() {
                let path = concat!(module_path!(), "::drivers_that_have_ended_keep_no_files");
                $crate::real::drivers_that_have_ended_keep_no_files::<$driver>(path);
            }
        }
    };
    ($driver:path) => {
        /// The driver, under the suite's trait.
        struct Subject($driver);

        impl $crate::Driver for Subject {
            fn new(options: $crate::Options) -> std::io::Result<Self> {
                <$driver>::new(options).map(Self)
            }

            fn local_addresses(&self) -> &[std::net::SocketAddr] {
                self.0.local_addresses()
            }

            fn datagram_address(&self) -> Option<std::net::SocketAddr> {
                self.0.datagram_address()
            }

            fn waker(&self) -> $crate::Waker {
                self.0.waker()
            }

            fn spawn<M, S>(
                self,
                machine: M,
                store: S,
            ) -> std::io::Result<$crate::Handle<M::Command, M::Event>>
            where
                M: $crate::Machine + Send + 'static,
                S: $crate::Store + Send + 'static,
                S::Error: Send + Sync,
                M::Command: Send,
                M::Event: Send,
            {
                self.0.spawn(machine, store)
            }
        }

        $crate::conformance!(of Subject);
    };
}
