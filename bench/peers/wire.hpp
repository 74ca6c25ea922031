#pragma once
// A tcp connection to 127.0.0.1 for pipelining: what is put into `out` leaves in large writes, what arrives is parsed
// from one large buffer. Never blocks in the one direction while the other has something, so that neither side can
// stop the other however much is under way.

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace jobyard::bench {

class Wire {
 public:
    /// Throws std::runtime_error, as all members do.
    explicit Wire(int port);
    ~Wire();
    Wire(const Wire&) = delete;
    Wire& operator=(const Wire&) = delete;

    /// Sends what is in `out` and returns once something has arrived that was not in `in()` before.
    void exchange();
    /// Sends all of `out`. What arrives meanwhile is kept.
    void flush();
    [[nodiscard]] std::string_view in() const { return {in_.data() + begin_, end_ - begin_}; }
    void consume(std::size_t bytes) { begin_ += bytes; }
    /// Until "\r\n"; waits for it. Good until the next call.
    std::string_view line();

    std::string out;

 private:
    void send_some();
    bool receive_some();
    void wait(bool for_input);

    int fd_ = -1;
    std::vector<char> in_;
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
    std::size_t sent_ = 0;  ///< of `out`
};

/// Whether something listens there.
bool port_answers(int port);
/// A port that is free just now.
int free_port();

}  // namespace jobyard::bench
