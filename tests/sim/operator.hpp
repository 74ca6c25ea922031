#pragma once
// Who steers: what a client asks for besides submits, as a table of actions, each as often as the plan says. Most of
// what it asks about is there; some is not, and some may not be done.

#include <cstdint>
#include <string>

#include "client/session.hpp"
#include "model.hpp"
#include "plan.hpp"

namespace jobyard::sim {

class Operator {
 public:
    struct Edge {
        virtual ~Edge() = default;
        virtual void ask(client::Question question) = 0;
        virtual void tell(const std::string& line) = 0;
    };
    Operator(Edge& edge, const Model& model, const Plan& plan, Random& random)
        : edge_(edge), model_(model), plan_(plan), random_(random) {}

    /// Any of the actions, or none, or several.
    void act();
    /// Lets go what is held, resumes what is paused or drained.
    void let_go();
    /// The next events, after those.
    void follow_on(const client::Found& found);
    /// Its process has ended, or it was told to follow no more.
    void forget() { follows_ = false; }

    /// There is no job of such a number.
    [[nodiscard]] static bool is_wrong(JobId job) { return job.value >= kWrong; }

 private:
    struct Action {
        std::int64_t Plan::*often;
        void (Operator::*act)();
    };
    static const Action kActions[];
    static constexpr std::uint64_t kWrong = 1'000'000'000;

    void cancel();
    void redrive();
    void look();
    void steer_array();
    void pause_queue();
    void limit_queue();
    void set_policy();
    void change();
    void edit();
    void start_task();
    void drain_worker();
    void follow();
    void ask(client::Question question);
    void ask(Message message) { ask(client::MessageQuestion{std::move(message), nullptr}); }
    [[nodiscard]] JobId any_or(Model::Which which);
    [[nodiscard]] std::string_view any_queue();
    [[nodiscard]] std::string_view any_type() { return kTypes.at(random_.below(kTypes.size())); }
    [[nodiscard]] RetryPolicy any_policy(bool may_unset);

    Edge& edge_;
    const Model& model_;
    const Plan& plan_;
    Random& random_;
    bool follows_ = false;
};

/// "CANCEL job 7", "SET_QUEUE queue-1 paused".
std::string text_of(const client::Question& question);

}  // namespace jobyard::sim
