//! Both log stores against the contract, and the segment store against crashes, damage and full disks.

mod fixtures;

mod contract;
mod damage;
mod kill;
mod reclaim;
mod space;
mod torn_tail;
