// A message that finds no room leaves a hole at the place where the next frame is made, not where
// it would have stood. The others see it no later than that: the hole says "something before this
// is missing", and what was queued before it comes before it or leaves a hole of its own.

#include "bus/outbox.h"

#include <utility>

namespace larder {

bool Outbox::Push(std::string message, std::shared_ptr<FleetWait> wait, MonoNanos now) {
  if (queue_.size() >= options_.messages_max ||
      queued_bytes_ + message.size() > options_.bytes_max) {
    hole_ = true;
    ++given_up_;
    return false;
  }
  queued_bytes_ += message.size();
  queue_.push_back({std::move(message), std::move(wait), now});
  return true;
}

Outbox::Content Outbox::Take(MonoNanos now, FleetWaits::List* failed) {
  while (!queue_.empty() && now > MonoAfter(queue_.front().queued, options_.give_up_after))
    GiveUpFront(failed);
  Content content;
  next_number_ += hole_ ? 1 : 0;
  hole_ = false;
  content.number = next_number_++;
  content.made = now;
  uint64_t bytes = 0;
  while (!queue_.empty() && content.messages.size() < options_.frame_messages_max) {
    Item& front = queue_.front();
    if (!content.messages.empty() && bytes + front.bytes.size() > options_.frame_bytes_max) break;
    bytes += front.bytes.size();
    queued_bytes_ -= front.bytes.size();
    content.messages.push_back({std::move(front.bytes), absl::Nanoseconds(now - front.queued)});
    if (front.wait != nullptr) content.waits.push_back(std::move(front.wait));
    queue_.pop_front();
  }
  return content;
}

void Outbox::Clear(FleetWaits::List* failed) {
  while (!queue_.empty()) GiveUpFront(failed);
}

void Outbox::GiveUpFront(FleetWaits::List* failed) {
  hole_ = true;
  ++given_up_;
  queued_bytes_ -= queue_.front().bytes.size();
  if (queue_.front().wait != nullptr) failed->push_back(std::move(queue_.front().wait));
  queue_.pop_front();
}

}  // namespace larder
