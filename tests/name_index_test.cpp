#include "name_index.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

namespace jobyard::broker {
namespace {

/// Finds all of 1,000 names and nothing else, whatever the hashes are.
void find_all(const std::function<std::uint32_t(const std::string&)>& hash) {
    std::vector<std::string> names;
    NameIndex index;
    const auto find = [&](const std::string& name) {
        return index.find(hash(name), [&](std::uint32_t number) { return names[number] == name; });
    };
    for (std::uint32_t number = 0; number < 1'000; ++number) {
        const std::string name = "queue-" + std::to_string(number);
        EXPECT_FALSE(find(name)) << name;
        names.push_back(name);
        index.add(hash(name), number);
    }
    for (std::uint32_t number = 0; number < names.size(); ++number) EXPECT_EQ(find(names[number]), number);
    EXPECT_FALSE(find("queue-1000"));
}

TEST(NameIndex, FindsWhatWasAddedAndNothingElse) {
    find_all([](const std::string& name) { return static_cast<std::uint32_t>(std::hash<std::string>{}(name)); });
}

TEST(NameIndex, TellsNamesOfOneHashApart) {
    find_all([](const std::string&) { return UINT32_MAX; });
    find_all([](const std::string& name) { return static_cast<std::uint32_t>(name.size()); });
}

TEST(NameIndex, IsUsedAgainAfterItWasCleared) {
    NameIndex index;
    const auto find = [&](std::uint32_t hash) { return index.find(hash, [](std::uint32_t) { return true; }); };
    for (std::uint32_t number = 0; number < 100; ++number) index.add(number, number);
    index.clear();
    for (std::uint32_t number = 0; number < 100; ++number) EXPECT_FALSE(find(number));
    index.add(7, 1);
    EXPECT_EQ(find(7), 1U);
    EXPECT_FALSE(find(8));
}

}  // namespace
}  // namespace jobyard::broker
