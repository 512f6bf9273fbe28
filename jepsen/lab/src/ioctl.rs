//! The two system calls for which no crate has a safe function.
#![expect(
    unsafe_code,
    reason = "an ioctl has no safe form; both take a plain struct that outlives the call"
)]

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::ioctl::{Setter, Updater, ioctl, opcode};

/// `struct ifreq` of the kernel, as TUNSETIFF reads and writes it.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

/// Frames of Ethernet, without the header that tells their protocol (include/uapi/linux/if_tun.h).
const IFF_TAP: u16 = 0x0002;
const IFF_NO_PI: u16 = 0x1000;
const TUNSETIFF: rustix::ioctl::Opcode = 0x4004_54CA;

/// Makes the TAP interface `eth0` in the network namespace of the calling thread. The interface exists until the file
/// is closed, and stays in its namespace when the thread leaves. Reads return one frame and do not wait.
///
/// # Errors
/// If the kernel has no TUN driver, or the process may not administrate the namespace.
pub(crate) fn open_tap() -> Result<File> {
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(nonblocking.cast_signed())
        .open("/dev/net/tun")
        .context("/dev/net/tun")?;
    let mut request = InterfaceRequest { name: [0; 16], flags: IFF_TAP | IFF_NO_PI, rest: [0; 22] };
    request.name[..4].copy_from_slice(b"eth0");
    // SAFETY: TUNSETIFF reads and writes one `struct ifreq`, which `request` is by layout.
    unsafe { ioctl(&file, Updater::<TUNSETIFF, _>::new(&mut request)) }.context("TUNSETIFF")?;
    Ok(file)
}

/// `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`: neither data nor the journal are written out.
const SHUTDOWN: rustix::ioctl::Opcode = opcode::read::<u32>(b'X', 125);
const NO_LOG_FLUSH: u32 = 2;

/// Makes the file system at `mount` drop everything that is not on the disk, and fail every later access with EIO.
///
/// # Errors
/// If the file system does not support the call.
pub(crate) fn shut_down_file_system(mount: &Path) -> Result<()> {
    let directory = File::open(mount).with_context(|| mount.display().to_string())?;
    // SAFETY: the call reads one u32.
    unsafe { ioctl(&directory, Setter::<SHUTDOWN, u32>::new(NO_LOG_FLUSH)) }
        .context("shutdown of the file system")
}
