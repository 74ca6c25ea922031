// The C interface: words, errors, and the client itself.

#include <array>

#include "c_api.hpp"
#include "jobyard/event.hpp"
#include "jobyard/fingerprint.hpp"

namespace jobyard::c_api {

jobyard_code report(jobyard_error* error, jobyard_code code, std::string_view text,
                    std::uint32_t retry_after_ms) noexcept {
    if (error == nullptr) return code;
    error->code = code;
    error->retry_after_ms = retry_after_ms;
    std::size_t size = std::min(text.size(), sizeof error->text - 1);
    // Not in the middle of a character.
    if (size < text.size())
        while (size > 0 && (static_cast<unsigned char>(text[size]) & 0xc0U) == 0x80U) --size;
    text.copy(error->text, size);
    error->text[size] = '\0';
    return code;
}

Error bad_field(const char* name, const std::string& problem) {
    return {Code::bad_field, std::string(name) + " " + problem, 0};
}

namespace {

constexpr jobyard_client_options kUsualOptions = JOBYARD_CLIENT_OPTIONS_INIT;

Result<Client::Options> options_from(const jobyard_client_options& given) {
    const Result<jobyard_client_options> taken = take(given, kUsualOptions, "options");
    if (!taken) return taken.error();
    return Client::Options{.broker = to_string(taken->broker),
                           .submit_limit = to_limit(taken->submit_limit_ms),
                           .retry_refused = taken->retry_refused,
                           .max_pending = taken->max_pending,
                           .max_pending_bytes = taken->max_pending_bytes,
                           .linger = to_limit(taken->linger_ms),
                           .server_key = to_string(taken->server_key),
                           .key_file = to_string(taken->key_file)};
}

/// A word's number is that of the C++ enum; any other is no word.
template <class Enum>
const char* word(int number, Enum last, const char* unknown) {
    return number >= 0 && number <= static_cast<int>(last) ? jobyard::to_string(static_cast<Enum>(number)) : unknown;
}

static_assert(JOBYARD_OVER_QUOTA == static_cast<int>(Code::over_quota));
static_assert(JOBYARD_STATE_RETIRED == static_cast<int>(JobState::retired));
static_assert(JOBYARD_REASON_QUEUE_LIMIT == static_cast<int>(Reason::queue_limit));
static_assert(JOBYARD_EVENT_ARRAY_ENDED == static_cast<int>(EventKind::array_ended));
static_assert(JOBYARD_FROM_NOW == kFromNow);
static_assert(JOBYARD_LIMIT_MS == kDefaultTimeLimit.count());

}  // namespace
}  // namespace jobyard::c_api

using namespace jobyard::c_api;  // all that follows is of this interface, and at global scope

const char* jobyard_code_word(jobyard_code code) {
    if (code == JOBYARD_NO_MEMORY) return "no_memory";
    return word(code, jobyard::Code::over_quota, "unknown");
}
const char* jobyard_state_word(jobyard_state state) { return word(state, jobyard::JobState::retired, "unknown"); }
const char* jobyard_reason_word(jobyard_reason reason) { return word(reason, jobyard::Reason::queue_limit, "unknown"); }
const char* jobyard_event_word(jobyard_event_kind kind) {
    return word(kind, jobyard::EventKind::array_ended, "unknown");
}

jobyard_state jobyard_state_from(const char* text) {
    return text == nullptr ? JOBYARD_STATE_NONE : to_c(jobyard::job_state_from(text));
}
jobyard_reason jobyard_reason_from(const char* text) {
    if (text != nullptr && *text != '\0')
        for (int number = 1; number <= JOBYARD_REASON_QUEUE_LIMIT; ++number)
            if (std::string_view(jobyard::to_string(static_cast<jobyard::Reason>(number))) == text)
                return static_cast<jobyard_reason>(number);
    return JOBYARD_REASON_NONE;
}
jobyard_event_kind jobyard_event_from(const char* text) {
    return text == nullptr ? JOBYARD_EVENT_NONE : static_cast<jobyard_event_kind>(jobyard::event_kind_from(text));
}

const char* jobyard_version(void) { return JOBYARD_VERSION; }

jobyard_code jobyard_fingerprint(const char* type, const char* text, char digits[17], jobyard_error* error) {
    return guarded(error, {{type, "type"}, {text, "text"}, {digits, "digits"}}, [&]() -> jobyard::Result<void> {
        const std::string made = jobyard::fingerprint(type, text);
        made.copy(digits, jobyard::kFingerprintBytes);
        digits[jobyard::kFingerprintBytes] = '\0';
        return {};
    });
}

void jobyard_free(void* answer) {
    if (answer == nullptr) return;
    Reply* reply = nullptr;
    std::memcpy(&reply, static_cast<const char*>(answer) - sizeof(void*), sizeof(void*));
    delete reply;
}

jobyard_code jobyard_client_open(const jobyard_client_options* options, jobyard_client** client, jobyard_error* error) {
    if (client != nullptr) *client = nullptr;
    return guarded(error, {{client, "client"}}, [&]() -> jobyard::Result<void> {
        auto made = options_from(options == nullptr ? kUsualOptions : *options);
        if (!made) return made.error();
        *client = new jobyard_client(*std::move(made));
        return {};
    });
}

jobyard_code jobyard_client_connect(jobyard_client* client, int64_t limit_ms, jobyard_error* error) {
    return guarded(error, {{client, "client"}}, [&] { return client->client.connect(to_limit(limit_ms)); });
}

jobyard_code jobyard_client_close(jobyard_client* client, int64_t limit_ms, jobyard_error* error) {
    return guarded(error, {{client, "client"}}, [&] { return client->client.close(to_limit(limit_ms)); });
}

void jobyard_client_free(jobyard_client* client) { delete client; }

size_t jobyard_client_pending(const jobyard_client* client) { return client == nullptr ? 0 : client->client.pending(); }
size_t jobyard_client_max_payload(const jobyard_client* client) {
    return client == nullptr ? 0 : client->client.max_payload();
}
