// The pictures that come with the page, each with things to ask of it.

export const EXAMPLES = [
  {
    name: "snowman",
    says: "A snowman, a fire and a balloon in a striped room",
    find: ["a snowman", "the balloon below the snowman", "a fire"],
    ask: ["What is below the fire?", "How many snowmen are there?"],
  },
  {
    name: "hamburger",
    says: "A hamburger, a pig, a shirt, a cup and a tent on a dark ground",
    find: ["a hamburger", "the cup below the pig", "a shirt"],
    ask: ["What is to the left of the pig?", "Is there a tent?"],
  },
  {
    name: "drum",
    says: "A hat, a drum and a bell on a patterned ground",
    find: ["a drum", "the bell below the hat"],
    ask: ["What is above the bell?", "How many drums are there?"],
  },
  {
    name: "pumpkin",
    says: "A candle, a pumpkin and a fire on a chequered cloth",
    find: ["a pumpkin", "the fire to the right of the candle"],
    ask: ["What is to the left of the fire?", "Is there a candle?"],
  },
];
