//! Both log stores against the contract, and the segment store against crashes, damage and full disks.

mod fixtures;

mod contract;
