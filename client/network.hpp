#pragma once
// Between the callers and the broker: carries lists of calls from the callers to the session, messages between the
// session and the socket, and what came of it back to the callers.

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <thread>
#include <variant>
#include <vector>

#include "calls.hpp"
#include "peer/peer_socket.hpp"
#include "peer/turns.hpp"

namespace jobyard::client {

class Network {
 public:
    explicit Network(const Client::Options& options);
    /// close() must have been called.
    ~Network();
    Network(const Network&) = delete;
    Network& operator=(const Network&) = delete;

    [[nodiscard]] const std::shared_ptr<Room>& room() const { return room_; }

    /// Takes as many as there is room for, waiting for room as long as `limit`; returns how many. Passes over those
    /// that are done already. Large payloads are moved out of the specs.
    std::size_t submit(std::span<JobSpec> specs, std::span<const std::shared_ptr<Watched>> jobs,
                       std::chrono::milliseconds limit);
    /// Fails what was not taken, with why the client has ended if that is the reason.
    void refuse(std::span<const std::shared_ptr<Watched>> jobs, Error why);
    void watch(std::span<const std::shared_ptr<Watched>> jobs, Deadline deadline);
    void ask(std::span<const std::shared_ptr<Asked>> calls);

    [[nodiscard]] std::size_t pending();
    [[nodiscard]] std::size_t max_payload() const { return max_payload_.load(std::memory_order_relaxed); }

    /// Waits until nothing is pending, then stops the thread. False if the deadline came first.
    bool close(Deadline deadline);

 private:
    /// A new job, as its caller has written it; its item and small payload stand in the Parcel.
    struct Posting {
        std::shared_ptr<Watched> job;
        EncodedItem item;  ///< but not its bytes
        std::uint32_t item_bytes = 0;
        std::uint32_t payload_bytes = 0;
        std::shared_ptr<const std::string> large;  ///< the payload, where that is too large to copy
        std::shared_ptr<const SubmitArray> array;
    };
    struct Watching {
        std::shared_ptr<Watched> job;
        Deadline deadline;
    };
    using Posted = std::variant<Posting, Watching, std::shared_ptr<Asked>>;
    /// What goes from callers to a turn.
    struct Parcel {
        std::vector<Posted> calls;
        std::string bytes;  ///< of the new jobs, in their order

        void add(JobSpec& spec, const std::shared_ptr<Watched>& job);
        void clear();
    };
    struct Open {
        std::variant<std::shared_ptr<Watched>, std::shared_ptr<Asked>> call;
        std::size_t payload_bytes = 0;
    };

    /// One call of submit().
    struct Handover {
        std::chrono::milliseconds limit;
        std::optional<Deadline> deadline = {};  ///< for the whole list; the clock is read only if it has to wait
        std::size_t posted = 0;
        bool alone = false;  ///< nothing else is pending
        bool wake = false;   ///< somebody has to take a turn for it
    };

    [[nodiscard]] bool has_room() const { return pending_ < max_pending_ && pending_bytes_ < max_pending_bytes_; }
    /// False if there is a refusal, which then stays.
    bool post(std::vector<Posted> calls);
    bool wait_for_room(std::unique_lock<std::mutex>& lock, Handover& handover);
    void post(Posting&& posting, std::string_view bytes, Handover& handover);
    void run();

    // In a turn:
    Turns::After turn();
    bool take_posted();
    bool receive(bool& woke);
    void send();
    bool finish(std::vector<Completion>& completions);
    void publish_link();
    Ticket take_ticket(Open call);

    const std::shared_ptr<Room> room_;
    const std::size_t max_pending_;
    const std::size_t max_pending_bytes_;
    std::atomic<std::size_t> max_payload_;

    // Between callers and turns.
    std::mutex mutex_;
    Parcel posted_;
    bool gathering_ = false;         ///< an answer is waited for; a few small jobs make no turn
    std::size_t pending_ = 0;        // submits not answered yet
    std::size_t pending_bytes_ = 0;  // their payloads
    unsigned waiting_for_room_ = 0;
    std::condition_variable room_came_;
    std::optional<Error> refusal_;  // nothing is taken any more, or never was
    bool stopping_ = false;

    // Of whoever takes a turn.
    Session session_;
    std::unique_ptr<PeerSocket> socket_;
    std::shared_ptr<Turns> turns_;
    Parcel taken_;
    std::vector<Open> tickets_;  // what each ticket stands for
    std::vector<Ticket> free_tickets_;
    OutgoingMessage outgoing_;
    std::string header_;
    bool was_welcomed_ = false;
    bool was_put_off_ = false;

    std::mutex closing_;  // of those who call close(), one joins
    std::thread thread_;
};

}  // namespace jobyard::client
