#pragma once
// A client's process: the real session, driven in the turns that client/session.hpp asks for, by somebody who submits,
// and by an operator who steers, at random. What it is told goes to the model.

#include <map>
#include <memory>
#include <string>
#include <variant>

#include "client/session.hpp"
#include "model.hpp"
#include "operator.hpp"
#include "peer.hpp"

namespace jobyard::sim {

class Client : public End, private Operator::Edge {
 public:
    Client(World& world, Network& network, Model& model, const Plan& plan, std::string name);

    void start();
    /// kill -9; another one is started some time later.
    void crash();
    /// Closes its session properly; another one is started some time later.
    void close();
    [[nodiscard]] bool is_up() const { return life_ != nullptr; }
    /// Submits nothing more. The caretaker lets go whatever was held, paused or drained.
    void be_calm(bool is_caretaker);
    /// What it still waits for.
    [[nodiscard]] std::size_t pending() const { return life_ == nullptr ? 0 : life_->calls.size(); }
    [[nodiscard]] std::string pending_text() const;

    void on_opened(ConnectionId connection) override;
    void on_frames(ConnectionId connection, Frames frames) override;
    void on_closed(ConnectionId connection) override;

 private:
    struct Submitting {
        Wish* wish = nullptr;
        bool watch = false;
        JobId job;  ///< once it is known
    };
    struct Asked {
        client::Question question;
        std::uint64_t number = 0;  ///< the model's
    };
    using Call = std::variant<Submitting, Asked>;
    struct Life {
        explicit Life(Client& client);
        Link link;
        Loop loop;
        client::Session session;
        std::map<client::Ticket, Call> calls;
        client::Ticket last_ticket = 0;
        std::uint64_t granted = 0;  ///< bytes of results, since WELCOME
        std::uint64_t pushed = 0;
    };

    void turn();
    void act_later();
    void act();
    void take_care();
    void submit();
    [[nodiscard]] Wish& new_wish();
    [[nodiscard]] std::shared_ptr<const SubmitArray> new_array();
    void ask(client::Question question) override;
    void tell(const std::string& line) override { process.tell(line); }
    void take_completions();
    Asked take_asked(client::Ticket ticket);
    void take(const client::Submitted& done);
    void take(const client::Ended& done);
    void take(const client::Answered& done);
    void take(const client::AnsweredAll& done);
    void take(const client::Found& done);
    void take(const client::Failed& done);
    void note_sent(const Message& message);
    void note_received(const Message& message);
    void end_process();
    [[nodiscard]] std::int64_t now_ms() const { return process.world().now_ms(); }

    Network& network_;
    Model& model_;
    const Plan& plan_;
    Random random_;
    Operator operator_;
    bool calm_ = false;
    bool is_caretaker_ = false;
    std::unique_ptr<Life> life_;
};

}  // namespace jobyard::sim
