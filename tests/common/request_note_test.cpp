#include "common/request_note.h"

#include <gtest/gtest.h>

namespace green {
namespace {

class RequestNote : public testing::Test {
 protected:
  void SetUp() override {
    auto made = Scoreboard::create(1);
    ASSERT_TRUE(made);
    board.emplace(std::move(*made));
  }
  ScoreboardSlot& slot() { return board->slot(0); }

  std::optional<Scoreboard> board;
};

TEST_F(RequestNote, IsEmptyAtFirstAndAfterAReset) {
  EXPECT_EQ(noted_request(slot()), "");
  note_request(slot(), "GET", "/");
  board->reset_slot(0, 1);
  EXPECT_EQ(noted_request(slot()), "");
}

TEST_F(RequestNote, GivesBackTheLatest) {
  note_request(slot(), "DELETE", "/a/longer/path/of/some/words");
  note_request(slot(), "GET", "/short");
  EXPECT_EQ(noted_request(slot()), "GET /short");
}

TEST_F(RequestNote, EndsALongPathWhereTheRoomEnds) {
  for (std::size_t length = 170; length < 230; ++length) {
    const std::string path = "/" + std::string(length - 1, 'a');
    note_request(slot(), "GET", path);
    const std::string noted = noted_request(slot());
    const std::string whole = "GET " + path;
    if (whole.size() < sizeof(ScoreboardSlot::request))
      EXPECT_EQ(noted, whole);
    else
      EXPECT_EQ(noted, whole.substr(0, sizeof(ScoreboardSlot::request) - 4) + "…");
  }
}

TEST_F(RequestNote, ShowsWhatIsNoTextAsALineOfTheLog) {
  note_request(slot(), "GET", "/a\x01\xff\x1b[31m");
  EXPECT_EQ(noted_request(slot()), "GET /a\\x01?\\x1b[31m");
}

TEST_F(RequestNote, ReadsASlotThatAWorkerFilledWithoutAnEnd) {
  for (auto& word : slot().request) word = 0x6161616161616161;
  EXPECT_EQ(noted_request(slot()), std::string(sizeof(ScoreboardSlot::request), 'a'));
}

}  // namespace
}  // namespace green
