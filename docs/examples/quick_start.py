"""The whole loop in one screen: collect metrics, save, keep track of the best, report.

    python docs/examples/quick_start.py

It writes experiments.db and checkpoints/ into the working directory.
"""

from __future__ import annotations

import torch
from torch import nn

from model_checkpoint.analytics.metrics_collector import MetricsCollector
from model_checkpoint.checkpoint.enhanced_manager import EnhancedCheckpointManager
from model_checkpoint.cloud.s3_provider import S3Provider
from model_checkpoint.errors import NotInThisVersionError

torch.manual_seed(0)
inputs = torch.randn(512, 8)
labels = (inputs.sum(1) + 0.5 * torch.randn(512) > 0).float()
model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1), nn.Flatten(0))
optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
loss_of = nn.functional.binary_cross_entropy_with_logits


def train_one_epoch() -> float:
    """Take one step on the first 384 rows and return its loss."""
    optimizer.zero_grad()
    loss = loss_of(model(inputs[:384]), labels[:384])
    loss.backward()
    optimizer.step()
    return loss.item()


@torch.no_grad()
def evaluate() -> tuple[float, float, float]:
    """Return loss, accuracy and F1 score on the last 128 rows."""
    logits, truth = model(inputs[384:]), labels[384:] > 0.5
    guess = logits > 0
    hits = (guess & truth).sum()
    f1_score = 2 * hits / (guess.sum() + truth.sum()).clamp(min=1)
    return loss_of(logits, labels[384:]).item(), (guess == truth).float().mean().item(), f1_score.item()


epochs = 12
manager = EnhancedCheckpointManager(database_url="sqlite:///experiments.db", storage_backend="pytorch")
collector = MetricsCollector()
cloud = S3Provider(bucket_name="ml-checkpoints")
for epoch in range(epochs):
    loss = train_one_epoch()
    val_loss, accuracy, f1_score = evaluate()
    collector.collect_metric("train_loss", loss, step=epoch)
    collector.collect_metric("val_accuracy", accuracy, step=epoch)
    checkpoint_id = manager.save_checkpoint(model=model, optimizer=optimizer, epoch=epoch, loss=loss, val_loss=val_loss,
                                            metrics={"accuracy": accuracy, "f1": f1_score}, auto_best=True)  # fmt: skip
    if manager.is_best_checkpoint(checkpoint_id):
        try:
            cloud.upload(
                local_path=manager.get_checkpoint_path(checkpoint_id), remote_path=f"best_models/{checkpoint_id}.pt"
            )
        except NotInThisVersionError as lacking:
            upload_note = str(lacking)
best_model = manager.get_best_checkpoint(metric="val_loss", mode="min")
aggregated_metrics = collector.get_all_aggregated_metrics()
performance_report = manager.generate_performance_report()

saves = performance_report["operations"]["save"]
print(f"best        {best_model.id}: val_loss {best_model.val_loss:.4f}, f1 {best_model.metrics['f1']:.3f}")
print(f"train_loss  from {aggregated_metrics['train_loss'].max:.4f} to {aggregated_metrics['train_loss'].min:.4f}")
print(f"saves       {saves['count']}, p50 {1000 * saves['p50_s']:.1f} ms, p95 {1000 * saves['p95_s']:.1f} ms")
print(f"cloud       {upload_note}")

state = torch.load(manager.get_checkpoint_path(best_model.id), weights_only=True)  # any tool opens it
model.load_state_dict(state["model_state_dict"])
