// SPDX-License-Identifier: GPL-2.0-or-later

//! What only a running kernel can show, tested in VMs.
//!
//! A [`Scenario`] is a kind of VM and the tests that run in it, one after the other in one boot as
//! long as none fails. Every test begins and ends without the module loaded.

pub mod guest;
pub mod runner;
pub mod secrets;

mod agent;
mod buffers;
mod command_line;
mod contract;
mod debuggers;
pub mod disks;
mod endings;
mod engines;
mod essiv;
mod formats;
mod harness;
pub(crate) mod hotplug;
mod kvm;
mod kvm_linux;
mod load_path;
pub(crate) mod logs;
mod losses;
mod modes;
mod nmi_windows;
mod nmis;
mod open_volumes;
pub(crate) mod parking;
mod races;
mod refresh;
mod refusals;
mod share_windows;
pub(crate) mod sleep;
mod starving;
mod stores;
mod strikes;
mod users;
mod volumes;
mod wiping;

use anyhow::Result;
use tresor_qemu::{Accel, VmConfig};

use guest::Guest;

/// One test: its name is the sentence that it proves.
#[derive(Clone, Copy)]
pub struct Test {
    /// Path of the function.
    path: &'static str,
    /// Proves it.
    pub run: fn(&mut Guest) -> Result<()>,
}

impl Test {
    /// The sentence, with underscores.
    pub fn name(&self) -> &'static str {
        self.path.rsplit([':', ' ']).next().unwrap_or(self.path)
    }
}

/// A kind of VM, and what is tested in it.
pub struct Scenario {
    /// Names the VM's folder.
    pub name: &'static str,
    /// Changes the usual VM into the one needed.
    pub machine: fn(VmConfig) -> VmConfig,
    /// The tests, in order.
    pub tests: &'static [Test],
}

/// Lists functions as tests under their own names.
macro_rules! tests {
    ($($function:path),* $(,)?) => {
        &[$($crate::vmtest::Test {
            path: stringify!($function),
            run: $function,
        }),*]
    };
}

/// A test that cannot run here, and why.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Skip(pub String);

/// All scenarios.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "harness",
        machine: |usual| usual,
        tests: tests![
            harness::bytes_of_every_value_go_in_and_come_out_unchanged,
            harness::a_typed_answer_reaches_the_program_that_asked_and_is_not_echoed,
            harness::an_offset_in_the_ram_is_the_physical_address_there,
            harness::a_dump_is_the_ram_byte_for_byte,
            harness::a_hang_ends_in_a_time_out_that_shows_both_consoles,
            harness::a_process_that_is_killed_is_noticed_and_not_waited_for,
            harness::the_end_of_the_guest_is_reported_as_such,
        ],
    },
    Scenario {
        name: "dump-formats",
        machine: formats::machine,
        tests: tests![formats::a_dump_in_every_format_gives_the_findings_of_the_ram_itself],
    },
    Scenario {
        name: "usual",
        machine: |usual| usual,
        tests: tests![
            refusals::a_breakpoint_in_use_refuses_the_module_until_it_is_gone,
            engines::engine_aesni_runs_when_asked_for,
            engines::engine_aesni_avx_runs_when_asked_for,
            engines::engine_vaes_avx2_runs_when_asked_for,
            engines::engine_vaes_avx512_runs_when_asked_for,
            engines::an_engine_that_there_is_not_is_refused_with_those_that_there_are,
            debuggers::debuggers_get_no_breakpoint_and_see_nothing_while_the_module_is_loaded,
            contract::an_empty_store_answers_as_documented,
            contract::load_accepts_and_refuses_keys_as_documented,
            contract::slot_keys_are_f_of_the_uuid,
            contract::generated_keys_differ_and_are_named,
            contract::blobs_are_accepted_by_length_alone,
            users::users_can_do_nothing,
            command_line::tresorctl_loads_by_passphrase_and_leaves_nothing_in_ram,
            command_line::tresorctl_gives_the_slot_key_to_root_alone,
            command_line::tresorctl_turns_errors_into_advice,
            refresh::each_cpu_has_shares_of_its_own,
            refresh::shares_are_refreshed_so_that_old_registers_are_worthless,
            buffers::loading_leaves_nothing_of_the_key_in_ram,
            wiping::lock_wipes_shares_and_registers,
            wiping::clear_wipes_shares_and_registers_and_forgets_the_key,
            wiping::unloading_wipes_shares_and_registers_and_can_be_repeated,
            open_volumes::clear_and_unload_are_refused_while_a_volume_is_open,
            open_volumes::a_forced_clear_fails_io_until_the_same_key_returns,
            losses::a_cpu_that_lost_its_registers_passes_its_io_on_until_it_is_armed_again,
            losses::with_rearm_never_a_cpu_stays_without_the_key_until_it_is_loaded,
            losses::losing_all_registers_locks_until_the_right_key_returns,
            hotplug::a_cpu_that_goes_offline_is_wiped_and_is_armed_when_it_returns,
            hotplug::io_goes_on_while_cpus_go_and_come,
            nmis::nmis_during_io_leave_no_share_in_ram_and_the_data_right,
            logs::warnings_and_backtraces_print_no_share,
            logs::a_warning_inside_a_probe_or_with_probes_off_prints_no_share,
            logs::a_soft_lockup_prints_no_share,
        ],
    },
    Scenario {
        name: "agent",
        machine: |usual| usual,
        tests: tests![
            agent::the_agent_asks_until_the_key_is_back_and_what_waited_goes_on,
            agent::the_agent_stops_asking_when_it_need_not_and_asks_again_when_told,
            agent::the_agent_may_lie_on_a_volume_that_waits,
            agent::after_a_suspend_the_agent_asks_and_io_goes_on,
            agent::the_agent_ends_when_the_module_is_forced_out,
        ],
    },
    Scenario {
        name: "load-path",
        machine: |usual| usual,
        tests: tests![
            load_path::a_secret_left_in_any_kind_of_place_is_found,
            load_path::loads_that_are_interrupted_all_the_time_leave_nothing_in_ram,
            load_path::what_was_typed_in_vain_leaves_nothing_in_ram,
            load_path::a_key_through_a_pipe_leaves_nothing_in_ram,
            load_path::a_load_that_is_killed_leaves_nothing_in_ram,
        ],
    },
    Scenario {
        name: "no-secret-memory",
        machine: |usual| usual.append("secretmem.enable=0"),
        tests: tests![load_path::without_secret_memory_a_load_warns_and_only_a_kill_leaves_traces],
    },
    Scenario {
        name: "volumes",
        machine: volumes::machine,
        tests: tests![
            volumes::what_reaches_the_disk_is_aes_xts_under_the_derived_key,
            volumes::plain_mode_of_cryptsetup_works,
            essiv::what_reaches_the_disk_with_essiv_is_aes_cbc_under_the_derived_keys,
            essiv::a_luks2_volume_with_essiv_works,
            volumes::a_dump_holds_the_keys_of_a_stock_volume_and_none_of_ours,
        ],
    },
    Scenario {
        name: "modes",
        machine: |usual| usual,
        tests: tests![
            modes::xts_by_aesni_is_xts_by_rustcrypto,
            modes::xts_by_aesni_avx_is_xts_by_rustcrypto,
            modes::xts_by_vaes_avx2_is_xts_by_rustcrypto,
            modes::xts_by_vaes_avx512_is_xts_by_rustcrypto,
            modes::cbc_by_aesni_is_cbc_by_rustcrypto,
            modes::cbc_by_aesni_avx_is_cbc_by_rustcrypto,
            modes::cbc_by_vaes_avx2_is_cbc_by_rustcrypto,
            modes::cbc_by_vaes_avx512_is_cbc_by_rustcrypto,
            modes::ctr_by_aesni_is_ctr_by_rustcrypto,
            modes::ctr_by_aesni_avx_is_ctr_by_rustcrypto,
            modes::ctr_by_vaes_avx2_is_ctr_by_rustcrypto,
            modes::ctr_by_vaes_avx512_is_ctr_by_rustcrypto,
            modes::ecb_by_aesni_is_ecb_by_rustcrypto,
            modes::ecb_by_aesni_avx_is_ecb_by_rustcrypto,
            modes::ecb_by_vaes_avx2_is_ecb_by_rustcrypto,
            modes::ecb_by_vaes_avx512_is_ecb_by_rustcrypto,
            modes::essiv_by_aesni_is_essiv_by_rustcrypto,
            modes::essiv_by_aesni_avx_is_essiv_by_rustcrypto,
            modes::essiv_by_vaes_avx2_is_essiv_by_rustcrypto,
            modes::essiv_by_vaes_avx512_is_essiv_by_rustcrypto,
            modes::blobs_of_lengths_that_a_mode_has_not_are_refused,
            modes::requests_of_lengths_that_a_mode_has_not_are_refused,
            modes::if_one_algorithm_cannot_be_registered_none_is,
        ],
    },
    Scenario {
        name: "no-vaes",
        machine: |usual| usual.cpu("max,-vaes"),
        tests: tests![modes::a_cpu_without_vaes_gets_aesni_avx],
    },
    Scenario {
        name: "no-avx",
        machine: |usual| usual.cpu("max,-avx"),
        tests: tests![modes::a_cpu_without_avx_gets_aesni],
    },
    Scenario {
        name: "nmi-windows",
        machine: |usual| usual.accel(Accel::Tcg),
        tests: tests![
            nmi_windows::an_nmi_at_any_instruction_of_a_share_window_leaves_no_share_in_ram
        ],
    },
    Scenario {
        name: "nmi-windows-avx",
        machine: |usual| usual.accel(Accel::Tcg),
        tests: tests![
            nmi_windows::an_nmi_at_any_instruction_of_a_window_of_aesni_avx_leaves_no_share_in_ram
        ],
    },
    Scenario {
        name: "nmi-windows-vaes",
        machine: |usual| usual.accel(Accel::Tcg),
        tests: tests![
            nmi_windows::an_nmi_at_any_instruction_of_a_window_of_vaes_avx2_leaves_no_share_in_ram
        ],
    },
    Scenario {
        name: "store-watch",
        machine: stores::machine,
        tests: tests![
            stores::every_store_of_a_stock_volume_key_is_seen,
            stores::a_secret_put_together_by_any_stores_is_seen,
            stores::no_store_of_a_load_and_of_busy_volumes_holds_the_key,
            stores::a_deliberate_spill_of_aesni_is_caught,
            stores::a_deliberate_spill_of_aesni_avx_is_caught,
            stores::a_deliberate_spill_of_vaes_avx2_is_caught,
            stores::a_deliberate_spill_of_vaes_avx512_is_caught,
        ],
    },
    Scenario {
        name: "endings",
        machine: endings::machine,
        tests: tests![
            sleep::suspend_erases_shares_and_registers_and_locks,
            endings::a_reboot_erases_shares_and_registers,
            endings::a_power_off_erases_shares_and_registers,
            endings::a_panic_erases_the_shares,
        ],
    },
    Scenario {
        name: "late-cpus",
        machine: |usual| usual.smp("4").append("maxcpus=2"),
        tests: tests![hotplug::a_cpu_that_was_never_online_is_armed_when_it_comes],
    },
    Scenario {
        name: "plugged-cpus",
        machine: hotplug::machine_with_free_sockets,
        tests: tests![hotplug::a_cpu_that_is_plugged_in_is_armed_and_may_be_pulled_out],
    },
    Scenario {
        name: "four-cpus",
        machine: |usual| usual.smp("4"),
        tests: tests![
            races::calls_losses_and_unloading_may_race,
            races::calls_losses_hotplug_and_io_may_race,
        ],
    },
    Scenario {
        name: "parking",
        machine: parking::machine,
        tests: tests![
            parking::a_process_that_gets_nothing_done_is_noticed,
            parking::io_that_meets_a_lock_waits_for_the_key_whatever_dm_crypt_does,
            parking::a_request_of_many_sections_goes_on_where_it_stopped,
            refresh::shares_are_refreshed_under_load_too,
            parking::a_forced_clear_fails_what_waits,
            parking::a_new_volume_wants_the_key_and_an_open_one_only_its_return,
            parking::a_table_may_be_suspended_and_replaced_while_requests_wait,
            parking::forcing_the_module_out_fails_what_waits_and_ends_with_the_last_volume,
        ],
    },
    Scenario {
        name: "sleep",
        machine: sleep::machine,
        tests: tests![
            sleep::io_in_flight_waits_over_a_suspend,
            sleep::a_suspend_while_requests_wait_is_refused_and_hangs_nobody,
        ],
    },
    Scenario {
        name: "hibernation",
        machine: sleep::machine_that_hibernates,
        tests: tests![
            sleep::hibernation_is_refused_if_the_boot_cpu_lacks_the_key,
            sleep::an_image_on_swap_of_a_volume_is_encrypted,
        ],
    },
    Scenario {
        name: "starving",
        machine: |usual| usual,
        tests: tests![
            starving::calls_whose_allocations_fail_say_so_and_change_nothing,
            starving::requests_whose_allocations_fail_say_so_and_the_data_stays_right,
            starving::volumes_open_or_do_not_whichever_allocations_fail,
            starving::loading_the_module_fails_cleanly_whichever_allocation_fails,
            starving::a_debug_kernel_complains_of_what_it_looks_for,
        ],
    },
    Scenario {
        name: "no-aes",
        machine: |usual| usual.cpu("max,-aes"),
        tests: tests![refusals::a_cpu_without_aes_ni_is_refused],
    },
    Scenario {
        name: "kvm",
        machine: |usual| usual.modules(["kvm-amd"]),
        tests: tests![refusals::the_module_warns_where_kvm_is_loaded],
    },
    Scenario {
        name: "kvm-guests",
        machine: kvm::machine,
        tests: tests![
            kvm::a_guest_that_is_not_stopped_overwrites_the_registers,
            kvm::ordinary_guests_take_the_key_from_no_cpu,
            kvm::kvm_may_come_and_go_while_the_module_is_loaded,
            kvm::a_guest_with_breakpoints_takes_the_key_from_its_cpu_alone_until_it_ends,
            kvm::guests_with_breakpoints_on_all_cpus_park_io_until_the_key_is_loaded,
            kvm::a_guest_reads_nothing_but_what_it_wrote,
        ],
    },
    Scenario {
        name: "kvm-linux",
        machine: kvm_linux::machine,
        tests: tests![kvm_linux::a_stock_kernel_that_boots_as_a_guest_takes_the_key_from_no_cpu],
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_test_and_scenario_has_a_name_of_its_own() {
        let mut seen = HashSet::new();
        for scenario in SCENARIOS {
            assert!(seen.insert(scenario.name), "{}", scenario.name);
            for test in scenario.tests {
                assert!(seen.insert(test.name()), "{}", test.name());
                assert!(!test.name().contains(':'), "{}", test.name());
            }
        }
    }
}
