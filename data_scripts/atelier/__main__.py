"""Command line of Atelier: ``python -m data_scripts.atelier --output_dir DIR``."""

import argparse
import json
import sys
import time


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m data_scripts.atelier",
        description="Make a procedural fashion world: drawn garments, attributes, relative captions, product texts with "
        "known concepts, outfits with a hidden style rule, in the official FashionIQ, CIRR, FashionGen, FashionKLIP, "
        "Polyvore, Polyvore Outfits, BigFACAD and Fashion200k trees. The same seed and settings give the same world. Run "
        "the same command again to continue after an interruption or to check a finished world.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--output_dir", help="folder of the world; made if needed")
    add(
        "--garments",
        type=int,
        default=3000,
        help="number of products, 200 to 1,000,000; big_facad and fashion200k have as many more, each of designs of its own",
    )
    add("--seed", type=int, default=7, help="0 or larger")
    add("--image_size", type=int, default=128, help="side of the pictures in pixels, 32 to 1024")
    add(
        "--layouts",
        nargs="*",
        default=["fashioniq", "cirr"],
        metavar="NAME",
        help="official trees: fashioniq cirr fashiongen fashionklip polyvore polyvore_outfits big_facad fashion200k; "
        "FashionViL pre-trains on big_facad fashion200k fashiongen polyvore_outfits",
    )
    add(
        "--views",
        nargs="*",
        default=[],
        metavar="VIEW",
        help="extra pictures in atelier/views: front back detail figure",
    )
    add("--train_pairs", type=int, default=30, help="FashionIQ triplets per training design of 18 garments")
    add("--val_pairs", type=int, default=16, help="FashionIQ triplets per validation and test design")
    add("--group_pairs", type=int, default=9, help="CIRR queries per group of six")
    add("--figure_share", type=float, default=0.15, help="share of main pictures on a figure, 0 to 1")
    add("--picture_format", default="png", metavar="png|jpg", help="of the CIRR pictures")
    add(
        "--wording",
        default="shop",
        metavar="shop|exotic",
        help="words of the texts of FashionGen, BigFACAD and Fashion200k; exotic: garments that no shop's word list holds",
    )
    add("--outfits", type=int, default=2000, help="outfits of the Polyvore trees, of own garments, 200 to 1,000,000")
    add("--workers", type=int, default=None, help="drawing processes; default: every core. Does not change the world")
    add("--contact_sheet", metavar="FILE", help="draw a labelled picture of garments and triplets of the seed")
    add("--quiet", action="store_true", help="no progress bar")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the program; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if not options.output_dir and not options.contact_sheet:
        parser.error("nothing to do; give --output_dir DIR, --contact_sheet FILE, or both")
    # The drawing libraries are loaded only now, so that --help answers at once.
    from .build import build_world
    from .contact_sheet import contact_sheet
    from .layouts import WorldSettings

    try:
        settings = WorldSettings(
            garments=options.garments,
            seed=options.seed,
            image_size=options.image_size,
            layouts=tuple(options.layouts),
            views=tuple(options.views),
            train_pairs=options.train_pairs,
            val_pairs=options.val_pairs,
            group_pairs=options.group_pairs,
            figure_share=options.figure_share,
            picture_format=options.picture_format,
            wording=options.wording,
            outfits=options.outfits,
        )
    except ValueError as error:
        parser.error(str(error))
    summary: dict = {"seed": options.seed}
    try:
        if options.contact_sheet:
            summary["contact_sheet"] = str(contact_sheet(options.contact_sheet, options.seed, options.image_size))
        if options.output_dir:
            start = time.monotonic()
            world = build_world(options.output_dir, settings, options.workers, progress=not options.quiet)
            seconds = round(time.monotonic() - start, 2)
            summary |= {"output_dir": options.output_dir, "garments": options.garments, "pictures": world["pictures"],
                        "drawn": world["drawn"], "seconds": seconds}  # fmt: skip
    except (ValueError, OSError, RuntimeError) as error:
        print(f"atelier: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("atelier: interrupted; run the same command again, it continues where it stopped", file=sys.stderr)
        return 130
    print(json.dumps(summary))
    return 0


if __name__ == "__main__":
    sys.exit(main())
