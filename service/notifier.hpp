#pragma once
// What a service manager wants to hear from a program that it has started: systemd's protocol of sd_notify(3), which is
// a datagram of lines to the socket in $NOTIFY_SOCKET. Started by anything else, nothing is sent.
//
// With $WATCHDOG_USEC the manager ends a program that is silent for as long. So alive() belongs into the loop that does
// the work: a program whose other threads still breathe is no good when that one hangs.

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace jobyard::service {

class Notifier {
 public:
    /// Takes the variables out of the environment: they are for this process, not for those it starts. Call it while
    /// there is one thread.
    static Notifier from_environment();
    Notifier() = default;
    Notifier(Notifier&& other) noexcept;
    Notifier& operator=(Notifier&&) = delete;
    Notifier(const Notifier&) = delete;
    Notifier& operator=(const Notifier&) = delete;
    ~Notifier();

    /// READY=1: it serves. `status` is a line for people.
    void ready(std::string_view status) const;
    /// STOPPING=1: it ends, and takes its time.
    void stopping() const;
    /// WATCHDOG=1, unless that was said less than watchdog_interval() ago; cheap enough for every turn of a loop.
    void alive();
    /// How often alive() must be called; nothing if nobody listens for it.
    [[nodiscard]] std::optional<std::chrono::milliseconds> watchdog_interval() const { return interval_; }
    /// Any other state, such as "RELOADING=1\nMONOTONIC_USEC=…". Never waits: a manager that does not read has nothing
    /// to say.
    void tell(std::string_view state) const;

 private:
    std::string address_;  // of an AF_UNIX socket, as it stands in sun_path; empty: nobody listens
    int socket_ = -1;
    std::optional<std::chrono::milliseconds> interval_;
    std::chrono::steady_clock::time_point next_;
};

}  // namespace jobyard::service
