"""The front door for a training script::

    import model_checkpoint.engine as mc

    run = mc.start("digits", config=cfg)
    start = run.resume(model=model, optimizer=opt, loader=loader)
    for epoch in range(start.next_epoch, epochs):
        run.log(train_loss=loss, step=step)
        run.save(epoch=epoch, metrics={"val_loss": v})

`start` opens the kernel; everything else is asked of the `Run` that it returns.
"""

from model_checkpoint.engine.run import Run, start

__all__ = ["Run", "start"]
