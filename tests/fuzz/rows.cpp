#include "rows.hpp"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <set>

#include "../core_fixture.hpp"
#include "target.hpp"

namespace jobyard::fuzz {

using namespace broker;        // NOLINT: its core is what makes the rows
using namespace broker::test;  // NOLINT

std::vector<StoredRow> rows_of_a_store() {
    Yard yard;
    Peer client = yard.submitter();
    Access access;  // an instance of a key; all others come as whoever the system lets in
    access.keys["key"] = std::make_shared<const Principal>(Principal{.name = "web", .public_key = "key"});
    yard.guard(access);
    yard.who = access.find("key");
    Peer of_key = yard.submitter("of a key");
    yard.submit(of_key, {.queue = "of a key", .type = "t"});
    yard.who = access.local;
    Peer worker = yard.worker({.slots = 4});
    yard.submit(client, {.type = "t", .key = "k"}, std::string(5000, 'p'));
    yard.complete(worker, yard.take(worker), std::string(5000, 'r'));
    yard.submit(client, {.type = "t", .max_attempts = 1}, "dead");
    yard.fail(worker, yard.take(worker));
    yard.submit(client, {.type = "t", .backoff = {.initial_ms = 1'000'000}}, "waits");
    yard.fail(worker, yard.take(worker));
    SetQueue pause{"stopped"};
    pause.paused = true;
    pause.by = "somebody";
    yard.send(client, pause);
    yard.send(client, StartTask{.action = TaskAction::cancel, .queue = "none", .by = "somebody"});
    SubmitArray array{client.confirmed, client.next_number++, {{.queue = "arrays", .type = "t", .max_attempts = 1}}, 3};
    array.name = "an array";
    yard.send(client, array);
    yard.background();
    yard.inbox.clear();
    // One of the array's jobs dies; and another job is claimed after a restart.
    Peer of_arrays = yard.worker({.name = "arrays", .queues = {"arrays"}});
    yard.fail(of_arrays, yard.take(of_arrays));
    yard.inbox.clear();
    yard.submit(client, {.type = "t", .key = "lives"}, std::string(3000, 'q'));
    const Held held = yard.take(worker);
    yard.crash();
    yard.come_back(worker, {.slots = 4, .claims = {{held.job, held.token, false}}});
    yard.advance(yard.config.timing.claim_window_ms + 1);
    yard.inbox.clear();

    std::vector<StoredRow> rows;
    std::set<Table> tables;
    for (std::size_t i = 0; i < kTables; ++i)
        for (const auto& [key, value] : yard.disk[static_cast<Table>(i)]) {
            rows.push_back({static_cast<Table>(i), key, value});
            tables.insert(static_cast<Table>(i));
        }
    for (std::size_t i = 0; i < kTables; ++i)
        if (!tables.contains(static_cast<Table>(i)))
            std::fprintf(stderr, "no row of %s\n", to_string(static_cast<Table>(i)));
    must(tables.size() == kTables, "there is a row of every table");
    return rows;
}

std::string with_checksum(std::string_view fields) {
    const auto sum = static_cast<std::uint32_t>(XXH3_64bits(fields.data(), fields.size()));
    std::string row(1, static_cast<char>(kFormatVersion));
    row.append(reinterpret_cast<const char*>(&sum), sizeof sum);
    return row.append(fields);
}

}  // namespace jobyard::fuzz
